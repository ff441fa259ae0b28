"""How far the figures of a tuning can be trusted, in sentences: what went on beside it, and what came of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..probes.load import FOREIGN_GPU_SHARE, HELD_BACK_SHARE, STALLED_SHARE, STOLEN_SHARE, together
from ..search.measured import Latency

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..probes.load import Load
    from ..search.measured import Trial
    from ..search.race import Lane

UNSTABLE = 0.1  # spread of the calls, as a share: from here on pyperf warns too


def doubts(trials: Sequence[Trial], lanes: Sequence[Lane] = ()) -> tuple[str, ...]:
    """Return what is to be said of trials and of the last round; nothing where the machine was quiet and steady."""
    told = [trial.load for trial in trials if trial.load]
    raced = [load for lane in lanes for load in lane.loads]
    said = [_said(sign, told, raced) for sign in _SIGNS]
    return tuple(filter(None, [*said, _drifted(trials), _unstable(lanes)]))


def _said(sign: _Sign, told: Sequence[Load], raced: Sequence[Load]) -> str:
    is_there, words = sign
    found = [load for load in told if is_there(load)]
    last = [load for load in raced if is_there(load)]
    if not found and not last:
        return ""
    when = [f"{len(found)} of {len(told)} trials"] * bool(found) + ["the last round"] * (2 * len(last) > len(raced))
    beside = " and ".join(when) or "some calls of the last round"
    end = ": there the baseline and the plan took turns, so both bore it" if last else ""
    return f"{words(together([*found, *last]))} during {beside}{end}."


_Sign = tuple["Callable[[Load], bool]", "Callable[[Load], str]"]
_SIGNS: tuple[_Sign, ...] = (
    (
        lambda load: load.is_shared,
        lambda load: f"Others kept {load.foreign_cores:.1f} of {load.cores} cores busy",
    ),
    (
        lambda load: load.stolen_cores > STOLEN_SHARE * load.cores,
        lambda load: f"The host took {100 * load.stolen_cores / load.cores:.0f} % of {load.cores} cores away",
    ),
    (
        lambda load: load.held_back > HELD_BACK_SHARE,
        lambda load: f"The container's CPU quota was used up {100 * load.held_back:.0f} % of the time",
    ),
    (
        lambda load: load.stalled > STALLED_SHARE,
        lambda load: f"Memory was so short that something waited for it {100 * load.stalled:.0f} % of the time",
    ),
    (lambda load: load.throttled, lambda _: "The CPU was slowed down for its heat"),
    (
        lambda load: load.foreign_gpu > FOREIGN_GPU_SHARE,
        lambda load: f"Others used {100 * load.foreign_gpu:.0f} % of the GPU",
    ),
    (
        lambda load: load.gpu_slowed,
        lambda load: f"Heat or supply slowed the GPU down, to {100 * load.gpu_clock:.0f} % of its clock,",
    ),
)


def _drifted(trials: Sequence[Trial]) -> str:
    factors = [trial.drift for trial in trials if trial.drift != 1]
    if not factors:
        return ""
    most = max(factors, key=lambda factor: max(factor, 1 / factor))
    return (
        f"The machine changed: the baseline, measured again, took {most:.2f} times as long as at first, and "
        f"{len(factors)} of {len(trials)} trials were compared accordingly."
    )


def _unstable(lanes: Sequence[Lane]) -> str:
    spreads = [Latency(samples_ms=tuple(lane.samples_ms)).spread for lane in lanes if lane.samples_ms]
    if max(spreads, default=0.0) <= UNSTABLE:
        return ""
    return f"Calls of the last round scatter by {100 * max(spreads):.0f} %: the ratio says more than the latencies."
