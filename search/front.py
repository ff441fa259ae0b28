"""The trials that no other beats: what is left of a search when latency, memory and quality all count."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .measured import Trial

_Costs = tuple[float, float, float]


def front(trials: Sequence[Trial], tolerance: float) -> list[Trial]:
    """Return the feasible trials that no other beats in latency, memory and quality together."""
    able = sorted(((_costs(trial), trial) for trial in trials if trial.feasible(tolerance)), key=lambda each: each[0])
    best: list[tuple[_Costs, Trial]] = []
    for costs, trial in able:  # whatever beats a trial stands before it, and is itself beaten only by one of `best`
        if not any(_beats(other, costs) for other, _ in best):
            best.append((costs, trial))
    return [trial for _, trial in sorted(best, key=lambda each: each[1].number)]


def _beats(one: _Costs, other: _Costs) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


def _costs(trial: Trial) -> _Costs:
    loss = trial.quality.baseline_mean - trial.quality.mean if trial.quality else 0.0
    peak_bytes = math.inf if trial.peak_memory_bytes is None else trial.peak_memory_bytes
    return trial.cost, peak_bytes, loss
