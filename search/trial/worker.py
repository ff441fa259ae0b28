"""What happens inside a trial's process: it hears commands as JSON lines and answers each with one.

Commands: `build` (make artifacts), `load` (assemble and make the cold call), `run` (call the pipeline for
some prompts: each call is a latency sample and an image), `score` (CLIP scores of images), `compare` (how like other
images they are), `witness` (what another model says of them), `examine` (what the pipeline is made of). An answer is
`{"ok": {...}}` or `{"failure": {"outcome": ..., "detail": ...}}`.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ...errors import UnfitError
from .memory import PeakMemory, limit
from .order import Order
from .steps import StepClock, TooSlowError

if TYPE_CHECKING:
    import socket

    from .witnesses import Look

DETAIL_LIMIT = 2000


class BadImageError(Exception):
    """An image that no score can excuse: not finite, black, flat, noise, or of another size than it should be."""


def serve(line: socket.socket) -> NoReturn:
    """Answer commands until the other side goes away; then leave at once, whatever is running."""
    commands: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(line, commands), daemon=True).start()
    worker = Worker()
    while True:
        line.sendall(json.dumps(_answer(worker, commands.get())).encode() + b"\n")


def _listen(line: socket.socket, commands: queue.Queue[str]) -> None:
    """Hand on each command; the end of the stream means that nobody waits for this trial any more."""
    for text in line.makefile():
        commands.put(text)
    os._exit(0)


def _answer(worker: Worker, text: str) -> dict[str, Any]:
    try:
        command = json.loads(text)
        return {"ok": getattr(worker, "do_" + command.pop("do"))(**command)}
    except Exception as error:  # noqa: BLE001 - whatever a technique raises is a result of the trial
        traceback.print_exc()
        outcome = classify(error)
        return {"failure": {"outcome": outcome, "detail": f"{type(error).__name__}: {error}"[:DETAIL_LIMIT]}}


def classify(error: BaseException) -> str:
    """Return the outcome that an exception in a trial stands for.

    torch's CPU allocator raises a plain RuntimeError, and OpenVINO passes on what C++ threw.
    """
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc", "unable to allocate")
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(sign in text for sign in signs)
    ):
        return "out_of_memory"
    if isinstance(error, BadImageError):
        return "bad_image"
    return "unfit" if isinstance(error, UnfitError) else "crashed"


class Worker:
    """One trial: what was ordered, and the pipeline once it is loaded."""

    def __init__(self) -> None:
        """Note the memory that the libraries alone take."""
        self._memory = PeakMemory()
        self._pipe: Any = None
        self._calls: dict[str, Any] = {}
        self._order: Order | None = None
        self._scorer: Any = None
        self._witnesses: dict[str, Look] = {}
        self._clock: StepClock | None = None

    def do_build(self, order: dict[str, Any]) -> dict[str, Any]:
        """Make the artifacts of a recipe."""
        from ..assemble import build

        prepared = self._prepared(order)
        build(prepared.recipe, prepared.bench())
        return {}

    def do_load(self, order: dict[str, Any]) -> dict[str, Any]:
        """Assemble the pipeline and make its first call, in which it compiles what is still to be compiled.

        What an earlier trial of the same recipe compiled is used, and what this one compiles is kept.
        """
        from .. import compiled
        from ..assemble import assemble, calls
        from ..pipeline import call_pipeline
        from .safety import do_not_hear_safety_checker
        from .weights import weights_bytes

        prepared = self._prepared(order)
        limit(prepared.device, prepared.device_limit_bytes)
        self._memory.start(prepared.device)
        recipe, bench, folder = prepared.recipe, prepared.bench(), Path(prepared.compiled)
        started = time.perf_counter()
        compiled.recall(recipe, bench, folder)
        self._pipe = assemble(recipe, bench)
        do_not_hear_safety_checker(self._pipe)
        self._calls = calls(recipe, bench) | {"output_type": "np"}
        self._clock = StepClock(self._pipe, prepared.device)
        loaded, load_peak_bytes = time.perf_counter(), self._memory.peak_bytes()
        call_pipeline(self._pipe, prepared.workload, prepared.calibration_prompts[0], seed=0, **self._calls)
        called = time.perf_counter()
        compiled.keep(recipe, bench, folder)
        facts = {"load_s": loaded - started, "cold_s": called - loaded, **self._peak()}
        return {**facts, "load_peak_bytes": load_peak_bytes, "weights_bytes": weights_bytes(self._pipe)}

    def do_run(
        self, prompts: list[str], seeds: list[int], folder: str, limit_ms: float | None = None
    ) -> dict[str, Any]:
        """Call the pipeline once a prompt; check each image and write it into the folder as SEED.png.

        A call that will take longer than `limit_ms`, as its first steps say, is given up, and nothing is called after.
        """
        from ..pipeline import call_pipeline
        from .images import checked, save

        if self._order is None or self._clock is None:
            msg = "run was asked before load"
            raise RuntimeError(msg)
        samples_ms, steps_ms = [], []
        for prompt, seed in zip(prompts, seeds, strict=True):
            self._clock.begin(limit_ms)
            started = time.perf_counter()
            try:
                images = call_pipeline(self._pipe, self._order.workload, prompt, seed, **self._calls)
            except TooSlowError as slow:
                return {"at_least_ms": slow.at_least_ms, "done": slow.done, "steps": slow.steps, **self._peak()}
            samples_ms.append((time.perf_counter() - started) * 1000)
            steps_ms.append(self._clock.median_ms())
            problem = checked(images)
            if problem:
                raise BadImageError(problem)
            save(images[0], Path(folder) / f"{seed}.png")
        return {"latency_ms": samples_ms, "steps_ms": steps_ms, **self._peak()}

    def do_examine(self, prompt: str, seed: int, file: str) -> dict[str, Any]:
        """Say what the pipeline is made of now, and write the images of a call into a file."""
        from ..pipeline import call_pipeline
        from ..verify.examine import examine

        if self._order is None:
            msg = "examine was asked before load"
            raise RuntimeError(msg)
        workload = self._order.workload
        return examine(self._pipe, lambda: call_pipeline(self._pipe, workload, prompt, seed, **self._calls), Path(file))

    def do_score(self, scorer: str, files: list[str], prompts: list[str]) -> dict[str, Any]:
        """Return the CLIP score of each image against its prompt."""
        from .clip_score import Scorer

        if self._scorer is None:
            self._scorer = Scorer(Path(scorer))
        return {"scores": self._scorer.scores([Path(file) for file in files], prompts)}

    def do_witness(self, model: str, files: list[str], references: list[str], prompts: list[str]) -> dict[str, Any]:
        """Return what another model says of each image; references: the baseline's, of the same prompts."""
        from .witnesses import opened

        if model not in self._witnesses:
            self._witnesses[model] = opened(Path(model))
        return {"figures": self._witnesses[model].figures([*map(Path, files)], [*map(Path, references)], prompts)}

    def do_compare(self, files: list[str], references: list[str]) -> dict[str, Any]:
        """Return how like its reference each image is: structural similarity, and the ratio of peak to noise."""
        from .likeness import psnr, ssim, unlike

        pairs = [(Path(one), Path(other)) for one, other in zip(files, references, strict=True)]
        for pair in pairs:
            if problem := unlike(*pair):
                raise BadImageError(problem)
        return {"likeness": [ssim(*pair) for pair in pairs], "psnr": [psnr(*pair) for pair in pairs]}

    def _prepared(self, order: dict[str, Any]) -> Order:
        import torch

        self._order = Order.model_validate_json(json.dumps(order))
        torch.set_num_threads(self._order.threads)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = self._order.compiled
        return self._order

    def _peak(self) -> dict[str, int]:
        return {"peak_memory_bytes": self._memory.peak_bytes()}
