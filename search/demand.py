"""What the parts of a model take while they compute, beside their weights, for any size of call: from a few rehearsals.

Between sizes it is a straight line: a convolution's and an attention's tensors grow with the pixels and with the rows
of a batch, those of a text encoder with the rows alone, a video's with its frames. So three or four rehearsals tell all
sizes, and the answer is kept: who has it needs neither torch nor the model.
"""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import ModelError
from ..probes.child import ask_child
from ..probes.model import ModelCard
from ..probes.whole import write_whole
from ..value import Value, key_of
from .workload import Workload

TIME_LIMIT_S = 900
SMALLEST_SIDE = 128
FEW_FRAMES = 17  # four latent ones for most video models, and another: enough that all but the first are alike
MULTIPLE = 32  # pixels; what sides of every known model can be divided by

Terms = tuple[float, float, float, float]
"""Bytes that a call takes in any case, and for each row, each pixel of a row, each pixel of each frame of it."""


Precision = Literal["fp32", "bf16"]


class Demand(Value):
    """What one part takes while it computes in a precision: tensors that live at once, and with a convolution's copies.

    A CPU's convolutions lay their inputs and outputs out anew (oneDNN), so there the second counts.
    """

    component: str
    precision: Precision
    live: Terms
    scratch: Terms

    def live_bytes(self, workload: Workload) -> int:
        """Return the bytes of the tensors that live at once."""
        return _at(self.live, workload)

    def scratch_bytes(self, workload: Workload) -> int:
        """Return the same with the copies of a convolution where they are the most."""
        return _at(self.scratch, workload)


def _at(terms: Terms, workload: Workload) -> int:
    return max(0, round(sum(term * size for term, size in zip(terms, _sizes(workload), strict=True))))


def _sizes(workload: Workload) -> Terms:
    rows, pixels = workload.batch, workload.width * workload.height
    return 1.0, rows, rows * pixels, rows * pixels * workload.frames


def demands_of(card: ModelCard, workload: Workload, cache: Path) -> tuple[Demand, ...]:
    """Return what each part of a model takes, rehearsed around this workload where `cache` does not have it.

    workload: whose guidance, frames and sides say what a call is like. The first answer takes 20 s to minutes, in a
    process of its own. Raises ModelError where the model's pipeline cannot be rehearsed.
    """
    kept = kept_demands(card, workload, cache)
    if kept is not None:
        return kept
    found, file = rehearsed(card, workload), _file(card, workload, cache)
    with suppress(OSError):
        write_whole(file, json.dumps(said(found)))
    return found


def kept_demands(card: ModelCard, workload: Workload, cache: Path) -> tuple[Demand, ...] | None:
    """Return what an earlier rehearsal found, None where there was none."""
    with suppress(OSError, ValueError, TypeError):
        return parsed(json.loads(_file(card, workload, cache).read_text(encoding="utf-8")))
    return None


def _file(card: ModelCard, workload: Workload, cache: Path) -> Path:
    """Return where the answer is kept: for one architecture, one kind of call and the libraries that were rehearsed."""
    kind = [workload.guidance > 1, workload.frames > 1]
    return cache / f"{key_of([card.architecture, kind, _versions()])}.json"


def rehearsed(card: ModelCard, workload: Workload) -> tuple[Demand, ...]:
    """Return what rehearsals in a process of their own find. Raises ModelError."""
    calls = _calls(workload)
    arguments = [card.model_dump_json(), *(call.model_dump_json() for call in calls)]
    answer = ask_child(f"{__spec__.parent}.rehearsal", TIME_LIMIT_S, arguments=arguments)
    if answer.problem:
        msg = f"What {card.name} takes while it computes cannot be found out: the rehearsal {answer.problem}."
        raise ModelError(msg)
    return tuple(_fitted(json.loads(answer.text), calls))


def _calls(workload: Workload) -> list[Workload]:
    """Return the calls to rehearse: they differ in pixels, in rows, and for a video in frames."""
    some = {"batch": 1, "width": _halved(workload.width), "height": _halved(workload.height), "steps": 2}
    half = workload.model_copy(update=some | ({"frames": FEW_FRAMES} if workload.frames > 1 else {}))
    whole = half.model_copy(update={"width": 2 * half.width, "height": 2 * half.height})
    rows = half.model_copy(update={"batch": 2})
    longer = half.model_copy(update={"frames": 2 * FEW_FRAMES - 1})
    return [half, whole, rows, *([longer] if workload.frames > 1 else [])]


def _halved(side: int) -> int:
    return max(SMALLEST_SIDE, side // 2 // MULTIPLE * MULTIPLE)


def _fitted(counted: dict[Precision, Any], calls: list[Workload]) -> list[Demand]:
    sizes = np.array([_sizes(call) for call in calls])
    if all(call.frames == 1 for call in calls):
        sizes[:, 3] = 0
    demands = []
    for precision, found in counted.items():
        for component in found[0]:
            live, scratch = (
                _terms(sizes, [each[component][kind] for each in found]) for kind in ("live_bytes", "scratch_bytes")
            )
            demands.append(Demand(component=component, precision=precision, live=live, scratch=scratch))
    return demands


def _terms(sizes: Any, counted: list[int]) -> Terms:
    """Return the terms that give what was counted; of those that do not matter, the least."""
    scale = np.maximum(1.0, np.abs(sizes).max(axis=0))
    solved = np.linalg.lstsq(sizes / scale, np.array(counted, float), rcond=None)[0] / scale
    first, second, third, fourth = (
        float(f"{term:.6g}") if abs(term) * size >= 1 else 0.0 for term, size in zip(solved, scale, strict=True)
    )
    return first, second, third, fourth


def said(demands: tuple[Demand, ...]) -> list[list[Any]]:
    """Return demands in JSON's types, short enough to be kept for many models."""
    return [[each.component, each.precision, list(each.live), list(each.scratch)] for each in demands]


def parsed(content: Any) -> tuple[Demand, ...]:
    """Return the demands that `said` wrote. Raises ValueError or TypeError where it is something else."""
    return tuple(
        Demand(component=component, precision=precision, live=tuple(live), scratch=tuple(scratch))
        for component, precision, live, scratch in content
    )


def _versions() -> list[str]:
    return [f"{name} {version(name)}" for name in ("diffusers", "torch", "transformers")]
