"""How well a sampler searches a table, against random search: scores with bootstrap intervals over its repetitions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...value import Value
from .random_search import best_of, expected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .evaluator import Search
    from .table import Table

START, END = 0.01, 0.95  # of the way from the median to the best: random search there is where scoring begins and ends
POINTS = 50  # of the cost axis
NEAR = (1.05, 1.01)
RESAMPLES = 1000
LEVELS = (0.025, 0.975)


class Interval(Value):
    """A figure and its 95 % bootstrap interval; None where no repetition got there."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Reaching(Value):
    """What it takes to try a feasible recipe within some share of the best, in trials and in cost.

    trials and cost: all that was spent over all repetitions, divided by how often the target was reached, so that a
    search that gives up is charged for the next one (the expected running time of COCO, arXiv:1605.03560).
    reached: the share of the repetitions that reached it. random_trials and random_cost: the same of random search,
    from its closed form; trials_saved and cost_saved are their ratios: how many times less the sampler needs.
    """

    within: float
    reached: float
    trials: Interval
    cost: Interval
    random_trials: float
    random_cost: float
    trials_saved: Interval
    cost_saved: Interval


class Score(Value):
    """What a sampler is worth on a table.

    score: Kernel Tuner's, over the cost axis: 1 for finding the best at once, 0 for random search, below it for worse.
    reaching: within 5 % and 1 % of the best. picked_feasible: the share of repetitions whose pick truly meets the
    constraints; pick_regret: by how much the pick is slower than the best, in the median of them.
    """

    schema_version: int = 1
    table: str
    sampler: str
    repeats: int
    score: Interval
    reaching: tuple[Reaching, ...]
    picked_feasible: float
    pick_regret: float | None
    median_trials: float
    ask_ms: float


class CostAxis:
    """The points of cost at which searches are compared, and what random search is expected to have there.

    Source: Willemsen et al. 2024 (autotuning_methodology): from where random search is 1 % of the way from the median
    to the best, to where it is 95 %, or to as many trials as the searches may have. What is worse than the median
    counts as the median, as does nothing feasible: how bad the worst recipes are would otherwise decide the score.
    """

    def __init__(self, table: Table, most: int) -> None:
        """Find the points of a table. most: trials that a search may have."""
        able = np.array(sorted(table.feasible.values()))
        self.best, self.median = float(able[0]), float(np.median(able))
        values = np.full(len(table.rows), self.median)
        values[: len(able)] = np.minimum(able, self.median)
        curve = best_of(values, len(values))
        first, last = (self._trials_to(share, curve) for share in (START, END))
        last = max(first, min(last, most))
        usual = float(np.mean([row.cost for row in table.rows.values()]))
        self.costs = np.linspace(first * usual, last * usual, POINTS)
        self.random = curve[np.clip((self.costs / usual).astype(int), 1, len(curve)) - 1]
        self.budget = float(self.costs[-1])

    def _trials_to(self, share: float, curve: np.ndarray) -> int:
        """Return after how many trials random search is this share of the way from the median to the best."""
        there = curve <= self.median - share * (self.median - self.best)
        return int(np.argmax(there)) + 1 if there.any() else len(curve)

    def score(self, search: Search) -> float:
        """Return the mean of how far a search is from random search to the best, over the points."""
        gap = self.random - self.best
        sure = gap > 1e-12 * self.best  # a table whose recipes are all alike has nothing to win
        if not sure.any():
            return 0.0
        return float(np.mean((self.random - self.found(search))[sure] / gap[sure]))

    def found(self, search: Search) -> np.ndarray:
        """Return the best that a search has tried by each point, no worse than the median."""
        costs = np.cumsum([step.cost for step in search.steps])
        values = [self.median if step.objective is None else step.objective for step in search.steps]
        least = np.minimum.accumulate([self.median, *values])
        return np.asarray(least[np.searchsorted(costs, self.costs, side="right")])


def score(table: Table, sampler: str, searches: Sequence[Search], most: int, ask_ms: float) -> Score:
    """Return the scores of a sampler's repetitions, of `most` trials each. ask_ms: what asking it took, a trial."""
    axis = CostAxis(table, most)
    picks = [table.feasible.get(search.pick.key) if search.pick else None for search in searches]
    regrets = [value / axis.best - 1 for value in picks if value is not None]
    return Score(
        table=table.name,
        sampler=sampler,
        repeats=len(searches),
        score=_interval(np.array([[axis.score(search)] for search in searches]), lambda means: means[..., 0]),
        reaching=tuple(_reaching(table, searches, near, axis.best * near) for near in NEAR),
        picked_feasible=len(regrets) / len(searches),
        pick_regret=float(np.median(regrets)) if regrets else None,
        median_trials=float(np.median([len(search.steps) for search in searches])),
        ask_ms=ask_ms,
    )


def _reaching(table: Table, searches: Sequence[Search], within: float, target: float) -> Reaching:
    spent = np.array([_spent(search, target) for search in searches])
    usual = expected(table, target)
    return Reaching(
        within=within,
        reached=float(spent[:, 2].mean()),
        trials=_interval(spent, lambda means: _ratio(means[..., 0], means[..., 2])),
        cost=_interval(spent, lambda means: _ratio(means[..., 1], means[..., 2])),
        random_trials=usual.trials,
        random_cost=usual.cost,
        trials_saved=_interval(spent, lambda means: usual.trials * _ratio(means[..., 2], means[..., 0])),
        cost_saved=_interval(spent, lambda means: usual.cost * _ratio(means[..., 2], means[..., 1])),
    )


def _spent(search: Search, target: float) -> tuple[float, float, float]:
    """Return the trials and the cost of a search until it hit the target, or of all of it, and whether it did (1)."""
    cost = 0.0
    for number, step in enumerate(search.steps, 1):
        cost += step.cost
        if step.objective is not None and step.objective <= target:
            return number, cost, 1.0
    return len(search.steps), cost, 0.0


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Return a ratio, infinite where nothing is under it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(over / under)


def _interval(samples: np.ndarray, figure: Callable[[np.ndarray], np.ndarray]) -> Interval:
    """Return a figure of the means of samples (one row a repetition) with its bootstrap interval."""
    generator = np.random.default_rng(20_240_607)  # any fixed seed: the same runs give the same interval
    means = samples[generator.integers(len(samples), size=(RESAMPLES, len(samples)))].mean(axis=1)
    low, high = np.quantile(figure(means), LEVELS, method="nearest")
    return Interval(value=_finite(figure(samples.mean(axis=0))), low=_finite(low), high=_finite(high))


def _finite(value: np.ndarray | float) -> float | None:
    """Return a number that JSON has; None for any other."""
    return float(value) if math.isfinite(value) else None
