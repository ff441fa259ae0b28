"""How many calls a trial makes: until it is warm, and until its latency is known as well as it needs to be.

What is clearly slower than the best is not worth a second call; what is about as fast is worth some more.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .measured import Latency

FIRST_CALLS = 3
MOST_CALLS = 7
MOST_WARM_UP = 5  # calls, and WARM_UP_S in all
WARM_UP_S = 30.0
STEADY = 0.02  # a call whose steps differ by less from those after it is warm
NEAR = 1.1  # only what is so near to the best has to be known better
PRECISE = 0.02  # half of the 90 % interval of the median
ENOUGH_S = 60.0  # of warm calls, three or more: what is best is measured again in the last round
SLOW = 1.15
HOPELESS = 1.2  # by the fastest call so far
STOP = 1.5  # in the middle of the first call
Z_90, MEDIAN = 1.645, 1.2533  # a median's standard error is so many times that of a mean


def warm_up_calls(steps_ms: Sequence[float]) -> int:
    """Return how many of the first calls were made before the pace was steady, by the median step of each call.

    A call is warm if its steps take as long as those of the calls after it, within 2 % or what these differ by
    themselves. What cannot be told, because too few calls come after, counts as warm.
    """
    for count in range(min(MOST_WARM_UP, max(0, len(steps_ms) - FIRST_CALLS))):
        later = steps_ms[count + 1 :]
        middle = statistics.median(later)
        noise = 1.4826 * statistics.median(abs(each - middle) for each in later)
        if abs(steps_ms[count] - middle) <= max(STEADY * middle, 3 * noise):
            return count
    return min(MOST_WARM_UP, max(0, len(steps_ms) - FIRST_CALLS))


def is_hopeless(latency: Latency, best_ms: float, *, beside_others: bool) -> bool:
    """Return whether a recipe is too slow to be worth another call.

    beside_others: whether it ran beside more than the best did; then a single call says little.
    """
    count, fastest_ms = len(latency.samples_ms), min(latency.samples_ms)
    if count < FIRST_CALLS and beside_others:
        return fastest_ms > 2 * best_ms
    if fastest_ms > HOPELESS * best_ms:
        return True
    return count >= FIRST_CALLS and latency.median_ms > SLOW * best_ms


def is_enough(latency: Latency, best_ms: float) -> bool:
    """Return whether the latency is known well enough, for one that is not hopeless.

    The half of the 90 % interval of the median must be 2 %, if it is near the best; there are seven warm calls at most,
    and fewer where they take a minute in all.
    """
    count = len(latency.kept_ms)
    spent_s = sum(latency.samples_ms[: latency.warm_up]) / 1000
    if count < FIRST_CALLS:
        return False
    if len(latency.samples_ms) < FIRST_CALLS + 1 and not _looks_steady(latency.steps_ms) and spent_s < WARM_UP_S:
        return False
    is_long = sum(latency.kept_ms) >= 1000 * ENOUGH_S
    if count >= MOST_CALLS or is_long or latency.median_ms > NEAR * best_ms:
        return True
    return Z_90 * MEDIAN * latency.spread / math.sqrt(count) <= PRECISE


def _looks_steady(steps_ms: Sequence[float]) -> bool:
    """Return whether the first call was as fast as the next ones, so that there was nothing to warm up."""
    usual_ms = statistics.median(steps_ms[1:]) if len(steps_ms) > 1 else 0.0  # 0 too where a call has one step alone
    return not usual_ms or abs(steps_ms[0] / usual_ms - 1) <= STEADY
