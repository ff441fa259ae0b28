"""What a sampler has heard: which recipes were tried, which is the best, and which choices are given up."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

from .suggest import RAN

if TYPE_CHECKING:
    from .measured import Trial
    from .recipe import Choice, Recipe
    from .space import SearchSpace

    Nogood = frozenset[tuple[str, Choice]]
    """Choices that do not run together, or one that does not run at all."""

NEW_BEST = 0.99  # less than this share of the best cost so far counts as progress
FAILURES = 3  # of one choice, or of two together, without a success, and it is not tried again


class Heard:
    """The trials that were told, by recipe.

    `best` and `best_cost` are of the best feasible one, None and infinite before there is any; `without_progress` says
    how many came since it was found.
    """

    def __init__(self, space: SearchSpace, tolerance: float) -> None:
        """Begin with none. tolerance: the share of the baseline's score that may be lost."""
        self._space = space
        self._tolerance = tolerance
        self._nogoods: set[Nogood] = set()
        self.trials: dict[str, Trial] = {}
        self.best: Recipe | None = None
        self.best_cost = math.inf
        self.without_progress = 0

    def tell(self, trial: Trial) -> set[Nogood]:
        """Take a trial into account, and return the choices that are given up because of it."""
        self.trials[trial.recipe.key] = trial
        progress = trial.feasible(self._tolerance) and trial.cost < NEW_BEST * self.best_cost
        self.without_progress = 0 if progress else self.without_progress + 1
        if progress:
            self.best, self.best_cost = trial.recipe, trial.cost
        if trial.outcome in RAN:
            return set()
        turns = [*trial.recipe.turned.items()]
        found = {frozenset([turn]) for turn in turns if self._only_failed(frozenset([turn]))}
        if trial.outcome != "out_of_memory":  # memory adds up over all choices: two say little about the others
            found |= {pair for pair in map(frozenset, combinations(turns, 2)) if self._only_failed(pair)}
        found -= self._nogoods
        self._nogoods |= found
        return found

    def is_open(self, recipe: Recipe) -> bool:
        """Return whether a recipe is in the space, was not tried, and has nothing in it that was given up."""
        turns = recipe.turned.items()
        given_up = any(nogood <= turns for nogood in self._nogoods)
        return recipe.key not in self.trials and not given_up and recipe in self._space

    def _only_failed(self, turns: Nogood) -> bool:
        """Return whether three trials with these choices failed and none ran: no recipe that has them is tried then."""
        outcomes = [told.outcome in RAN for told in self.trials.values() if turns <= told.recipe.turned.items()]
        return len(outcomes) >= FAILURES and not any(outcomes)
