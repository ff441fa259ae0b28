"""Searching a table again and again, each time with another seed; the evaluator alone differs from life."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError
from ..samplers import Begun, sampler_of
from .evaluator import Search, TableEvaluator, search_table
from .score import Score, score

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..measured import Trial
    from ..recipe import Recipe
    from ..sampler import Sampler
    from .table import Table

MOST_TRIALS = 100


@dataclass(frozen=True)
class Terms:
    """How a table is searched. most: trials of a search; budget: what one may cost, in the table's own unit.

    gives_up: whether slow trials end early, see `TableEvaluator`; first: recipes to begin with, known from elsewhere.
    """

    most: int = MOST_TRIALS
    budget: float = math.inf
    repeats: int = 100
    noise_cv: float = 0.0
    gives_up: bool = False
    first: tuple[Recipe, ...] = ()

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant."""
        if self.most < 1 or self.budget <= 0 or self.repeats < 1 or not 0 <= self.noise_cv < 1:
            msg = (
                "Trials and repeats must be 1 at least, a budget more than 0, and the noise a share from 0 to below 1; "
                f"given were {self.most} trials, {self.repeats} repeats, {self.budget:g} and {self.noise_cv:g}."
            )
            raise UsageError(msg)


class _Timed:
    """A sampler, and how long it took to answer."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.seconds = 0.0

    def ask(self) -> Recipe | None:
        """Return what the sampler says."""
        with self._clock():
            return self._sampler.ask()

    def tell(self, trial: Trial) -> None:
        """Tell the sampler."""
        with self._clock():
            self._sampler.tell(trial)

    @contextmanager
    def _clock(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started


def replay(table: Table, sampler: str, terms: Terms) -> tuple[Score, tuple[Search, ...]]:
    """Return what a sampler is worth on a table, and its searches. Raises UsageError for an unknown sampler."""
    searches: list[Search] = []
    seconds = 0.0
    for seed in range(terms.repeats):
        timed = _Timed(Begun(terms.first, sampler_of(sampler, table.space, seed), table.space))
        evaluator = TableEvaluator(table, terms.budget, terms.noise_cv, seed, gives_up=terms.gives_up)
        searches.append(search_table(evaluator, table, timed, terms.most))
        seconds += timed.seconds
    trials = sum(len(search.steps) for search in searches)
    return score(table, sampler, searches, terms.most, 1000 * seconds / max(1, trials)), tuple(searches)
