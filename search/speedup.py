"""How many times faster: the interval of a ratio from calls that took turns, and what may be concluded from it.

The i-th calls of both were made next to each other, in alternating order, so what slowed one slowed the other. Of two
recipes that are equally fast each log-ratio is then as often above zero as below, whatever the noise is like: that is
all that the signed-rank test needs, so its error rate holds for spikes and heavy tails too.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from .intervals import student

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
TIE = 1.01
"""What is not faster by more than this is as fast."""
PRECISE = 0.02
"""A ratio is known well enough when its interval reaches no further than this share, or a tenth of the gain itself."""
FEWEST_RANKED = 8  # pairs; below, ranks have no interval worth having
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447)  # 97.5 % quantiles for 1 to 6 degrees of freedom

Interval = tuple[float, float, float]
"""The ratio, and the ends of its two-sided 95 % interval."""


def speedup(baseline_ms: Sequence[float], plan_ms: Sequence[float]) -> Interval:
    """Return how many times faster the plan is, with its 95 % interval, from calls in pairs.

    The median of all averages of two log-ratios, with the interval that the signed-rank test gives; with fewer than
    eight pairs the mean and Student's interval. Calls without a partner are left out. A single pair has no interval
    but everything.

    Source: Hodges & Lehmann 1963; Hollander, Wolfe & Chicken 2014, sections 3.2 and 3.3.
    """
    count = min(len(baseline_ms), len(plan_ms))
    logs = np.log(np.asarray(baseline_ms[:count], np.float64) / np.asarray(plan_ms[:count], np.float64))
    middle, low, high = _by_ranks(logs) if count >= FEWEST_RANKED else _by_student(logs)
    return math.exp(middle), _exp(low), _exp(high)


def speedup_apart(baseline_ms: Sequence[float], plan_ms: Sequence[float]) -> Interval:
    """Return how many times faster the plan is, with its 95 % interval, from calls that were made at other times.

    The median of all log-ratios of a call of the one and a call of the other, with the interval that the rank-sum test
    gives; where the calls are too few for one, the ratio of the means with Student's. One call of each proves nothing.

    Source: Hodges & Lehmann 1963; Hollander, Wolfe & Chicken 2014, sections 4.2 and 4.3.
    """
    one, other = (np.log(np.asarray(each, np.float64)) for each in (baseline_ms, plan_ms))
    ratios = np.sort((one[:, None] - other[None, :]).ravel())
    cut = _cut_apart(len(one), len(other))
    if cut < 0:
        middle, low, high = _by_student_apart(one, other)
    else:
        middle, low, high = float(np.median(ratios)), float(ratios[cut]), float(ratios[-1 - cut])
    return math.exp(middle), _exp(low), _exp(high)


def is_faster(found: Interval) -> bool:
    """Return whether it is faster beyond the noise, and by more than what counts as a tie."""
    return found[1] > TIE


def is_precise(found: Interval) -> bool:
    """Return whether more calls are not worth their time.

    This asks how wide the interval is and hardly where it lies: who stops as soon as it lies well reports too much.
    """
    ratio, low, high = found
    return low > 0 and high / low <= math.exp(2 * max(PRECISE, abs(math.log(ratio)) / 10))


def _by_ranks(logs: np.ndarray) -> Interval:
    rows, columns = np.triu_indices(len(logs))
    averages = np.sort((logs[rows] + logs[columns]) / 2)
    cut = _cut(len(logs))
    return float(np.median(averages)), float(averages[cut]), float(averages[-1 - cut])


@cache
def _cut(count: int) -> int:
    """Return how many averages lie outside of the interval at each end: from the exact distribution of the ranks' sum.

    Under no difference each of the ranks 1 to `count` is in the sum or not, as coins fall.
    """
    chances = np.zeros(count * (count + 1) // 2 + 1)
    chances[0] = 1
    for rank in range(1, count + 1):
        shifted = np.zeros_like(chances)
        shifted[rank:] = chances[:-rank]
        chances = (chances + shifted) / 2
    return int(np.searchsorted(np.cumsum(chances), (1 - CONFIDENCE) / 2, side="right")) - 1


@cache
def _cut_apart(one: int, other: int) -> int:
    """Return how many ratios lie outside of the interval at each end: from the exact distribution of the rank sum.

    Of so many calls of both, in how many orders a number of pairs stands the other way round: Gauss's binomials.
    """
    orders = [1]
    for count in range(1, other + 1):
        longer = [*orders, *[0] * (one + count)]
        for place in range(one + count, len(longer)):
            longer[place] -= orders[place - one - count]
        for place in range(count, len(longer)):
            longer[place] += longer[place - count]
        orders = longer[: one * count + 1]
    chances = np.cumsum([each / math.comb(one + other, other) for each in orders])
    return int(np.searchsorted(chances, (1 - CONFIDENCE) / 2, side="right")) - 1


def _by_student(logs: np.ndarray) -> Interval:
    mean = float(logs.mean())
    if len(logs) < 2:
        return mean, -math.inf, math.inf
    reach = STUDENT[len(logs) - 2] * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return mean, mean - reach, mean + reach


def _by_student_apart(one: np.ndarray, other: np.ndarray) -> Interval:
    """Return the interval of a difference of two means, of noise that is alike."""
    middle, degrees = float(one.mean() - other.mean()), len(one) + len(other) - 2
    if degrees < 1:
        return middle, -math.inf, math.inf
    squares = float(((one - one.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum())
    spread = math.sqrt(squares / degrees * (1 / len(one) + 1 / len(other)))
    reach = student(degrees, (1 - CONFIDENCE) / 2) * spread
    return middle, middle - reach, middle + reach


def _exp(log: float) -> float:
    """Return e to a power, as far as numbers go."""
    return math.exp(max(-700.0, min(log, 700.0)))
