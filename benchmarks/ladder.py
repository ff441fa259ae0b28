"""The ladder of diffusion-fast, step by step, on whatever machine this is: `python benchmarks/ladder.py [MODEL]`.

Each step is a recipe with one thing more than the last: attention without SDPA, bf16, SDPA, inductor, fused
projections, dynamic int8; then what a CPU has instead. Each runs as a trial does, in a process of its own, and is
compared with the unmodified pipeline: latency, memory, CLIP score and likeness. A step that this machine or this model
cannot take is printed with the reason, and the later ones do without it.

Source: https://github.com/huggingface/diffusion-fast
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.planner.choose import said_bytes
from autotune.planner.request import Request, task_of
from autotune.planner.tune import SPARE_BYTES
from autotune.probes.machine import probe
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.recipe import Choice, Recipe
from autotune.search.space import space_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autotune.search.measured import Trial
    from autotune.search.space import Space

BF16: dict[str, Choice] = {"precision": "bf16", "memory_format": "channels_last"}
INDUCTOR: dict[str, Choice] = {**BF16, "compile": "full"}
OPENVINO: dict[str, Choice] = {"compile": "openvino"}

LADDER: tuple[tuple[str, dict[str, Choice]], ...] = (
    ("as diffusers makes it", {}),
    ("without SDPA", {"attention": "eager"}),
    ("bf16, without SDPA", {"precision": "bf16", "attention": "eager"}),
    ("bf16", {"precision": "bf16"}),
    ("and channels last", BF16),
    ("and inductor on the blocks", {**BF16, "compile": "regional"}),
    ("inductor on the whole", INDUCTOR),
    ("and on the decoder", {**INDUCTOR, "vae_compile": True}),
    ("and the fastest of many kernels", {**BF16, "vae_compile": True, "compile": "max_autotune"}),
    ("and fused QKV", {**INDUCTOR, "vae_compile": True, "fuse_qkv": True}),
    ("dynamic int8 instead", {**INDUCTOR, "vae_compile": True, "quantization": "torchao_int8_dynamic"}),
    ("OpenVINO", OPENVINO),
    ("and bf16", {**OPENVINO, "precision": "bf16"}),
    ("and int8", {**OPENVINO, "precision": "bf16", "quantization": "nncf_int8"}),
    (
        "and half of the steps unguided",
        {**OPENVINO, "precision": "bf16", "quantization": "nncf_int8", "guidance_cutoff": 0.5},
    ),
)
"""Steps, and the recipe of each; what a step is about stands last in it."""


@dataclass(frozen=True)
class Rung:
    """What came of a step; a number that there is not is NaN, or 0 bytes. reason: why it was not taken, or failed."""

    step: str
    recipe: str
    outcome: str
    reason: str = ""
    latency_ms: float = math.nan
    gain: float = math.nan
    gain_in_all: float = math.nan
    peak_memory_bytes: int = 0
    clip_difference: float = math.nan
    ssim: float = math.nan

    def __str__(self) -> str:
        """Return its line of the table."""
        if math.isnan(self.latency_ms):
            return f"{self.step:<32}{self.outcome}: {self.reason}"
        cells = [
            f"{self.latency_ms:.0f} ms",
            *("" if math.isnan(number) else f"{number:.2f}" for number in (self.gain, self.gain_in_all)),
            said_bytes(self.peak_memory_bytes),
            "" if math.isnan(self.clip_difference) else f"{self.clip_difference:+.2f}",
            "" if math.isnan(self.ssim) else f"{self.ssim:.3f}",
        ]
        return f"{self.step:<32}" + "".join(f"{cell:>11}" for cell in cells) + f"  {self.reason}".rstrip()


HEADING = f"{'step':<32}" + "".join(f"{cell:>11}" for cell in ("latency", "gain", "in all", "memory", "CLIP", "SSIM"))


def main(arguments: list[str] | None = None) -> None:
    """Climb, print each step as it is reached, and write the table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="shapes", help="a short name or a folder")
    parser.add_argument("--steps", type=int, help="denoising steps")
    parser.add_argument("--csv", type=Path, help="a file for the table")
    parser.add_argument("--first", type=int, default=len(LADDER), help="only so many steps of the ladder")
    options = parser.parse_args(arguments)
    sys.stdout.write(HEADING + "\n")
    rungs = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["AUTOTUNE_HOME"] = home
        for rung in climb(Request(model=options.model, steps=options.steps), LADDER[: options.first]):
            sys.stdout.write(f"{rung}\n")
            sys.stdout.flush()
            rungs.append(rung)
    if options.csv:
        write(rungs, options.csv)


def climb(request: Request, ladder: tuple[tuple[str, dict[str, Choice]], ...] = LADDER) -> Iterator[Rung]:
    """Measure each step that this machine and this model allow; a gain is over the last one that was measured."""
    task, _ = task_of(request, probe())
    space, baseline_ms, before_ms = space_for(task.setting), math.nan, math.nan
    with IsolatedEvaluator(task, task.modules, task.machine.memory.free_bytes - SPARE_BYTES) as evaluator:
        for number, (name, turned) in enumerate(ladder):
            recipe, reason, refused = possible(turned, space)
            if refused:
                yield Rung(name, str(recipe), "refused", reason)
                continue
            trial = evaluator.evaluate(number, recipe, math.inf, time.monotonic() + 3600)
            if trial.outcome != "ok":
                yield Rung(name, str(recipe), trial.outcome, trial.detail[:200].replace("\n", " "))
                continue
            baseline_ms = trial.median_ms if math.isnan(baseline_ms) else baseline_ms
            yield _rung(name, trial, reason, baseline_ms, before_ms)
            before_ms = trial.median_ms


def possible(turned: dict[str, Choice], space: Space) -> tuple[Recipe, str, bool]:
    """Return the recipe of a step without what cannot be had here, why not, and whether that leaves no step at all."""
    refused = {turn: space.refused[turn] for turn in turned.items() if turn in space.refused}
    recipe = Recipe(turned={name: choice for name, choice in turned.items() if (name, choice) not in refused})
    reason = "; ".join(f"without {name}={choice}: {because}" for (name, choice), because in refused.items())
    if turned and list(turned.items())[-1] in refused:
        return recipe, refused[list(turned.items())[-1]], True
    broken = space.why_not(recipe)
    return recipe, broken or reason, bool(broken)


def _rung(name: str, trial: Trial, reason: str, baseline_ms: float, before_ms: float) -> Rung:
    quality = trial.quality
    return Rung(
        step=name,
        recipe=str(trial.recipe),
        outcome=trial.outcome,
        reason=reason,
        latency_ms=trial.median_ms,
        gain=before_ms / trial.median_ms,
        gain_in_all=baseline_ms / trial.median_ms,
        peak_memory_bytes=trial.peak_memory_bytes or 0,
        clip_difference=quality.mean - quality.baseline_mean if quality else math.nan,
        ssim=quality.ssim if quality and quality.ssim is not None else math.nan,
    )


def write(rungs: list[Rung], file: Path) -> None:
    """Write the table with a column a field; what there is not is empty."""
    with file.open("w", encoding="utf-8", newline="") as text:
        table = csv.DictWriter(text, [field.name for field in fields(Rung)])
        table.writeheader()
        for rung in rungs:
            values = asdict(rung)
            table.writerow({name: "" if value != value else value for name, value in values.items()})  # noqa: PLR0124 - NaN


if __name__ == "__main__":
    main()
