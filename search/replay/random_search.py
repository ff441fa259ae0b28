"""Random search without replacement, in closed form: what every sampler is compared with, without noise of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .table import Table


@dataclass(frozen=True)
class Expected:
    """What random search is expected to need until a target is hit. Source: the negative hypergeometric law."""

    trials: float
    cost: float
    median_trials: int


def expected(table: Table, target: float) -> Expected:
    """Return what it takes to try a feasible recipe whose objective is at most the target.

    Of n recipes m are good: before the first of them (n - m) / (m + 1) others are drawn, each as likely as the next.
    """
    good = {key for key, value in table.feasible.items() if value <= target}
    costs = {key: row.cost for key, row in table.rows.items()}
    others = [cost for key, cost in costs.items() if key not in good]
    before = len(others) / (len(good) + 1)
    cost = before * (math.fsum(others) / len(others) if others else 0.0)
    cost += math.fsum(costs[key] for key in good) / len(good)
    return Expected(before + 1, cost, _median_trials(len(costs), len(good)))


def _median_trials(count: int, good: int) -> int:
    """Return how many draws hit with a probability of one half or more: 1 - C(n-m, k) / C(n, k)."""
    missed = 1.0
    for drawn in range(count):
        missed *= max(0, count - good - drawn) / (count - drawn)
        if missed <= 0.5:
            return drawn + 1
    return count


def best_of(values: np.ndarray, most: int) -> np.ndarray:
    """Return the expected least of k values that are drawn without replacement, for k from 1 to `most`.

    values: of every recipe. E = v_1 + sum over i of (v_(i+1) - v_i) * C(n-i, k) / C(n, k).
    """
    ordered = np.sort(values)
    count = len(ordered)
    steps, missed = np.diff(ordered), np.ones(count - 1)
    ranks = np.arange(1, count)
    least = np.empty(min(most, count))
    for drawn in range(len(least)):
        missed = missed * np.maximum(0, count - ranks - drawn) / (count - drawn)
        least[drawn] = ordered[0] + steps @ missed
    return least
