"""Ends of intervals of a mean, at any risk of being wrong: what a few samples say for sure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLES = 10_000
RISK = 0.05


def lower_bound(values: Sequence[float] | np.ndarray, risk: float = RISK) -> float:
    """Return the lower end of the one-sided interval of the mean; risk: how often it may lie above the true one.

    The lower of the bootstrap's and Student's bound: with few values the bootstrap alone is too sure of itself, with a
    few that are far off Student's alone is. Raises ValueError for a single value, which has no bound.

    Source: Efron & Tibshirani 1993, chapter 13.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        msg = "A bound needs at least two values."
        raise ValueError(msg)
    reach = student(len(sample) - 1, risk) * float(sample.std(ddof=1)) / math.sqrt(len(sample))
    return float(min(np.quantile(resampled_means(sample), risk), sample.mean() - reach))


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
