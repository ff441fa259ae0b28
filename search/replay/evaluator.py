"""Trying a recipe by looking it up, and one whole search of a table: the study loop is that of life."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast, get_args

from ..evaluate import CutOffError
from ..measured import Latency, Outcome, Quality, Trial
from ..pace import STOP
from ..study import study

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..sampler import Sampler
    from .table import Row, Table

TOLERANCE = 0.0  # a table's constraints are met or not


class TableEvaluator:
    """Looks recipes up. noise_cv: by how much measurements scatter; budget: of cost, which no trial may go beyond.

    gives_up: whether a trial ends, as in life, once it has taken 1.5 times the best so far: for tables in which a trial
    costs the call that is timed, of which it then costs so much less. Latencies of its trials are in the unit of the
    table's objective, durations in that of its cost.
    """

    def __init__(
        self, table: Table, budget: float = math.inf, noise_cv: float = 0.0, seed: int = 0, *, gives_up: bool = False
    ) -> None:
        """Prepare."""
        self._gives_up = gives_up
        self._table, self._left = table, budget
        self._sigma = math.sqrt(math.log1p(noise_cv**2))  # of a lognormal with this coefficient of variation
        self._random = random.Random(seed)

    def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        """Return what the table says of a recipe. Raises CutOffError where the budget does not reach for it."""
        del deadline
        row = self._table.rows[recipe.key]
        if self._gives_up and row.objective is not None and row.objective > STOP * best:
            return self._given_up(number, row, STOP * best)
        self._left -= row.cost
        if self._left < 0:
            raise CutOffError
        ran = row.objective is not None
        return Trial(
            number=number,
            recipe=recipe,
            outcome="ok" if ran else _outcome(row),
            detail="" if ran else f"The table says {row.outcome!r}.",
            latency=Latency(samples_ms=(row.objective * self._factor(),)) if row.objective is not None else None,
            peak_memory_bytes=row.peak_bytes,
            quality=self._quality(row) if ran and self._table.limits else None,
            started_at="",
            duration_s=row.cost,
        )

    def _given_up(self, number: int, row: Row, limit: float) -> Trial:
        """Return a trial that ended at the limit."""
        cost = row.cost * limit / (row.objective or limit)
        self._left -= cost
        if self._left < 0:
            raise CutOffError
        return Trial(
            number=number,
            recipe=row.recipe,
            outcome="slow",
            detail=f"It was given up after {limit:g}.",
            latency=Latency(samples_ms=(limit,), at_least=True),
            started_at="",
            duration_s=cost,
        )

    def _factor(self) -> float:
        """Return by how much a measurement is off: mean 1."""
        return math.exp(self._random.gauss(-(self._sigma**2) / 2, self._sigma)) if self._sigma else 1.0

    def _quality(self, row: Row) -> Quality:
        violation = row.violation(self._table.limits, self._factor())
        return Quality(scorer="table", scores=(0.0,), baseline_scores=(0.0,), bound=-violation)


def _outcome(row: Row) -> Outcome:
    said = row.outcome.removeprefix("invalid:")
    return cast("Outcome", said) if said in get_args(Outcome) else "crashed"


@dataclass(frozen=True)
class Step:
    """A trial as it truly was, without noise: objective is None where it did not run or misses a constraint."""

    recipe: Recipe
    cost: float
    objective: float | None


@dataclass(frozen=True)
class Search:
    """One search of a table: its trials in order, and the recipe that it would ship, None where it found none."""

    steps: tuple[Step, ...]
    pick: Recipe | None


def search_table(evaluator: TableEvaluator, table: Table, sampler: Sampler, most: int) -> Search:
    """Return one search: the study loop, until the sampler, the budget or the number of trials says stop."""
    happened = study(evaluator, sampler, (), TOLERANCE, math.inf, most, possible=())
    trials = [event for event in happened if isinstance(event, Trial)]
    feasible = table.feasible
    steps = tuple(Step(trial.recipe, trial.duration_s, feasible.get(trial.recipe.key)) for trial in trials)
    able = [trial for trial in trials if trial.feasible(TOLERANCE)]
    return Search(steps, min(able, key=lambda trial: trial.cost).recipe if able else None)
