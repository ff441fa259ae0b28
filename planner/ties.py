"""Which of several that are as fast is taken: what needs less memory, is less lossy, compiles in less time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..search.knobs import KNOBS
from ..search.speedup import is_faster, speedup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..search.race import Lane
    from ..search.recipe import Recipe

NEAR = 1.05  # what is slower than the fastest by more is no tie, though too few calls were made to be sure
SAME_MEMORY = 1.05  # peaks of one recipe differ by less


def lossiness(recipe: Recipe) -> int:
    """Return how many knobs are turned to a choice that can change the image beyond rounding."""
    return sum(recipe.turned.get(knob.name, knob.default) in knob.lossy for knob in KNOBS)


def preferred(lanes: Sequence[Lane]) -> tuple[Lane, str]:
    """Return the lane to take, and the sentence about those that it is tied with; empty where it is with none.

    Tied with the fastest is what the last round does not show to be slower by more than 1 %. Of these, the one with the
    least memory is taken, of those with about as little the one with the fewest lossy knobs, then the one whose first
    call is the shortest.
    """
    fastest = max(lanes, key=lambda lane: speedup(lanes[0].costs, lane.costs)[0])
    tied = [lane for lane in lanes if lane is fastest or _is_tied(fastest, lane)]
    least_bytes = min(_peak_bytes(lane) for lane in tied)
    small = [lane for lane in tied if _peak_bytes(lane) <= SAME_MEMORY * least_bytes]
    taken = min(small, key=lambda lane: (lossiness(lane.recipe), lane.facts["cold_s"]))
    others = [lane for lane in tied if lane is not taken]
    return taken, " ".join(_sentence(taken, other) for other in others)


def _is_tied(fastest: Lane, other: Lane) -> bool:
    found = speedup(other.costs, fastest.costs)
    return found[0] <= NEAR and not is_faster(found)


def _peak_bytes(lane: Lane) -> int:
    return int(lane.facts["peak_memory_bytes"])


def _sentence(taken: Lane, other: Lane) -> str:
    ratio, low, high = speedup(other.costs, taken.costs)
    if SAME_MEMORY * _peak_bytes(taken) < _peak_bytes(other):
        because = "needs less memory"
    elif lossiness(taken.recipe) < lossiness(other.recipe):
        because = "has fewer lossy knobs"
    else:
        because = "is ready sooner"
    return (
        f"Tied with {other.recipe} ({ratio:.3f} times as fast, 95 % interval {low:.3f} to {high:.3f}): it is taken "
        f"because it {because}."
    )
