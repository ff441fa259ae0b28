"""A Gaussian process over choices: what is to be expected of a recipe that was not tried, and how sure that is.

Two recipes are alike as far as they share choices: one by one (an additive model), in pairs, and as a whole. How much
each of these counts is decided by the marginal likelihood, among a few mixtures. Source: Rasmussen & Williams 2006,
chapters 2 and 5; Duvenaud et al. 2011 (additive kernels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .suggest import is_ordered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .knobs import Choices
    from .recipe import Choice

REACH = 0.7  # of the way from the least to the greatest of ordered choices: at that distance they are alike by 1/e
MIXTURES = (  # how much is explained by single choices, by pairs, by all together
    (1.0, 0.0, 0.1),
    (0.6, 0.4, 0.1),
    (0.3, 0.3, 0.5),
    (0.0, 0.0, 1.0),
)
NOISES = (1e-2, 5e-2, 2e-1)  # share of the variance
CHOOSING = 100  # values, by as many of which at most a mixture is chosen
LEAST = 1e-3  # spread of values; what scatters less is all the same
FAR = 4.0  # deviations below a bound, at which hardly more than the bound itself is to be expected
DECAY = 1.5  # knobs that differ until two recipes as a whole are alike by 1/e


class Kinship:
    """How alike the choices of a space are, knob by knob: rows of codes in, similarities out."""

    def __init__(self, choices: Mapping[str, tuple[Choice, ...]]) -> None:
        """Prepare."""
        self._choices = {name: open_choices for name, open_choices in choices.items() if len(open_choices) > 1}
        self._codes = {name: {choice: i for i, choice in enumerate(found)} for name, found in self._choices.items()}
        self._alike = [_likeness(found) for found in self._choices.values()]

    @property
    def knobs(self) -> int:
        """How many knobs have a choice."""
        return len(self._alike)

    def code(self, choices: Choices) -> list[int]:
        """Return a recipe as numbers, one for each knob."""
        return [codes[choices[name]] for name, codes in self._codes.items()]

    def features(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return three similarities, each from 0 to 1, of every row of `left` with every row of `right`.

        left: (n, knobs), right: (m, knobs); returned is (3, n, m): by single choices, by pairs, as a whole.
        """
        count = len(self._alike)
        total, squares = np.zeros((len(left), len(right))), np.zeros((len(left), len(right)))
        for knob, alike in enumerate(self._alike):
            shared = alike[left[:, knob]][:, right[:, knob]]
            total += shared
            squares += shared**2
        pairs = (total**2 - squares) / max(1, count * (count - 1))
        return np.stack([total / max(1, count), pairs, np.exp((total - count) / DECAY)])


def _likeness(choices: tuple[Choice, ...]) -> np.ndarray:
    """Return how alike each two choices of a knob are."""
    if not is_ordered(choices):
        return np.eye(len(choices))
    ranks = np.arange(len(choices))
    return np.asarray(np.exp(-np.abs(ranks[:, None] - ranks) / (REACH * (len(choices) - 1))))


@dataclass(frozen=True)
class Surrogate:
    """A fitted process. Values are taken relative to their mean and spread, and given back in their own unit."""

    mixture: np.ndarray
    lower: np.ndarray
    weights: np.ndarray
    mean: float
    spread: float

    @classmethod
    def fit(cls, features: np.ndarray, values: np.ndarray) -> Surrogate:
        """Return the likeliest process. features: (3, n, n), of what was tried with itself; values: (n,)."""
        mean, spread = float(values.mean()), max(float(values.std()), LEAST)
        scaled = (values - mean) / spread
        some = slice(None, None, 1 + (len(values) - 1) // CHOOSING)
        part, few = features[:, some, some], scaled[some]
        kinds = [(np.array(mixture), noise) for mixture in MIXTURES for noise in NOISES]
        kind = max(kinds, key=lambda kind: _fit(part, few, *kind)[0])
        _, mixture, lower, weights = _fit(features, scaled, *kind)
        return cls(mixture, lower, weights, mean, spread)

    @classmethod
    def fit_bounded(cls, features: np.ndarray, values: np.ndarray, bounded: np.ndarray) -> Surrogate:
        """Return the likeliest process where some values are only known to be at least so large.

        In the place of each bound comes what is to be expected beyond it, by the others. bounded: (n,), of bool.
        Source: Hutter, Hoos & Leyton-Brown 2013, arXiv:1310.1947, with the mean in the place of draws.
        """
        free = ~bounded
        if free.all() or free.sum() < 2:
            return cls.fit(features, values)
        mean, deviation = cls.fit(features[:, free][:, :, free], values[free]).predict(features[:, bounded][:, :, free])
        filled = values.copy()
        filled[bounded] = _mean_beyond(values[bounded], mean, deviation)
        return cls.fit(features, filled)

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the expectation and the standard deviation. features: (3, m, n), of candidates with what was tried."""
        from scipy.linalg import solve_triangular

        shared = np.tensordot(self.mixture, features, 1)
        explained = solve_triangular(self.lower, shared.T, lower=True, check_finite=False)
        variance = self.mixture.sum() - np.einsum("nm,nm->m", explained, explained)
        deviation = np.sqrt(np.maximum(variance, 1e-9))
        return self.mean + self.spread * (shared @ self.weights), self.spread * deviation


def _fit(
    features: np.ndarray, values: np.ndarray, mixture: np.ndarray, noise: float
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Return the log of the marginal likelihood, the scaled mixture, the covariance's lower factor, and the weights.

    The scale is the likeliest one, which has a closed form. Source: Rasmussen & Williams 2006, algorithm 2.1.
    """
    from scipy.linalg import cho_solve

    count = len(values)
    covariance = np.tensordot(mixture, features, 1)
    covariance[np.diag_indices(count)] += noise
    lower = np.linalg.cholesky(covariance)
    weights = cho_solve((lower, True), values, check_finite=False)
    scale = max(float(values @ weights) / count, 1e-6)
    likelihood = -0.5 * count * np.log(scale) - float(np.log(np.diag(lower)).sum())
    return likelihood, mixture * scale, lower * np.sqrt(scale), weights


def expected_gain(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Return the expected improvement over `best`, where less is better. Source: Jones, Schonlau & Welch 1998."""
    z = (best - mean) / deviation
    return np.asarray(deviation * (z * at_most(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)))


def _mean_beyond(bound: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the expectation of a normal that is known to be at least the bound."""
    z = (bound - mean) / deviation
    beyond = np.maximum(at_most(-z), 1e-12)
    hazard = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / beyond
    return np.where(z > FAR, bound, np.maximum(bound, mean + deviation * hazard))


def at_most(z: np.ndarray) -> np.ndarray:
    """Return the share of a standard normal that is at most z, within 1e-7.

    Source: Abramowitz & Stegun 1964, 26.2.17.
    """
    t = 1 / (1 + 0.2316419 * np.abs(z))
    tail = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    upper = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * tail
    return np.asarray(np.where(z >= 0, 1 - upper, upper))
