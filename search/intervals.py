"""Ends of intervals of a mean, at any risk of being wrong: what a few samples say for sure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLES = 10_000
RISK = 0.05
SYMMETRIC = 1e-6
"""Below this skewness Hall's bound is Student's, and a division by it would be one by nothing."""


def lower_bound(values: Sequence[float] | np.ndarray, risk: float = RISK) -> float:
    """Return the lower end of the one-sided interval of the mean; risk: how often it may lie above the true one.

    The lowest of three bounds: with few values the bootstrap alone is too sure of itself, with a few that are far off
    Student's alone is, and where most are a little better and some much worse, only Hall's takes that into account.
    Raises ValueError for a single value, which has no bound.

    Source: Efron & Tibshirani 1993, chapter 13; Hall 1992, doi:10.1111/j.2517-6161.1992.tb01872.x.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        msg = "A bound needs at least two values."
        raise ValueError(msg)
    reach = student(len(sample) - 1, risk) / math.sqrt(len(sample))
    reaches = max(reach, _skewed(reach, sample)) * float(sample.std(ddof=1))
    return float(min(np.quantile(resampled_means(sample), risk), sample.mean() - reaches))


def _skewed(reach: float, sample: np.ndarray) -> float:
    """Return how far below the mean of a skewed sample Student's bound should be, in standard deviations.

    The inverse of Hall's transformation, which makes the studentized mean of a skewed sample as good as symmetric.
    """
    count, centred = len(sample), sample - sample.mean()
    spread = float(centred.std())
    if count < 3 or spread == 0:
        return reach
    skewness = float(((centred / spread) ** 3).mean()) * math.sqrt(count * (count - 1)) / (count - 2)
    if abs(skewness) < SYMMETRIC:
        return reach
    return 3 / skewness * (math.cbrt(1 + skewness * (reach - skewness / (6 * count))) - 1)


def resampled_means(values: np.ndarray) -> np.ndarray:
    """Return the means of many samples that are drawn from this one, the same ones each time.

    Rows of a two-dimensional array are drawn whole, as clusters are; all its columns go into a mean.
    """
    generator = np.random.default_rng(20_240_607)  # any fixed seed: the same data give the same verdict
    drawn = values[generator.integers(len(values), size=(RESAMPLES, len(values)))]
    return np.asarray(drawn.reshape(RESAMPLES, -1).mean(axis=1))


def student(degrees: int, risk: float) -> float:
    """Return what Student's t exceeds with this risk, on one side."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - risk))
