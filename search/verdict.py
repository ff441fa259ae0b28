"""Whether the images are as good, as far as a few of them tell."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLES = 10_000
CONFIDENCE = 0.95


def lower_bound(differences: Sequence[float] | np.ndarray) -> float:
    """Return the lower end of the one-sided 95 % interval of the mean of paired differences.

    differences: recipe minus baseline, one a prompt. The lower of the bootstrap's and Student's bound: with few
    prompts the bootstrap alone is too sure of itself, with a few ruined images Student's alone is.
    Source: Efron & Tibshirani 1993, chapter 13; a single pair has no bound but minus infinity, so it is refused.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        msg = "A bound needs at least two pairs."
        raise ValueError(msg)
    means = _resampled_means(values)
    student = values.mean() - _student(len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(min(np.quantile(means, 1 - CONFIDENCE), student))


def _resampled_means(values: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(20_240_607)  # any fixed seed: the same data give the same verdict
    return np.asarray(values[generator.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1))


def _student(degrees: int) -> float:
    """Return the 95 % quantile of Student's t, within 1 % from 3 degrees on.

    Source: Abramowitz & Stegun 1964, 26.7.5.
    """
    z = NormalDist().inv_cdf(CONFIDENCE)
    terms = (z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return math.fsum(term / degrees**power for power, term in enumerate(terms))
