"""What a sampler has heard: which recipes were tried, which is the best, and which choices are given up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .suggest import RAN

if TYPE_CHECKING:
    from .measured import Trial
    from .recipe import Choice, Recipe
    from .space import SearchSpace

NEW_BEST = 0.99  # less than this share of the best cost so far counts as progress
FAILURES = 3  # of one choice, without a success, and it is not tried again


class Heard:
    """The trials that were told, by recipe.

    `best` and `best_cost` are of the best feasible one, None and infinite before there is any; `without_progress` says
    how many came since it was found.
    """

    def __init__(self, space: SearchSpace, tolerance: float) -> None:
        """Begin with none. tolerance: the share of the baseline's score that may be lost."""
        self._space = space
        self._tolerance = tolerance
        self._hopeless: set[tuple[str, Choice]] = set()
        self.trials: dict[str, Trial] = {}
        self.best: Recipe | None = None
        self.best_cost = math.inf
        self.without_progress = 0

    def tell(self, trial: Trial) -> list[tuple[str, Choice]]:
        """Take a trial into account, and return the choices that are given up because of it."""
        self.trials[trial.recipe.key] = trial
        progress = trial.feasible(self._tolerance) and trial.cost < NEW_BEST * self.best_cost
        self.without_progress = 0 if progress else self.without_progress + 1
        if progress:
            self.best, self.best_cost = trial.recipe, trial.cost
        given_up = [turn for turn in trial.recipe.turned.items() if self._only_failed(*turn)]
        self._hopeless.update(given_up)
        return given_up

    def is_open(self, recipe: Recipe) -> bool:
        """Return whether a recipe is in the space, was not tried, and has no choice that was given up."""
        given_up = any(turn in self._hopeless for turn in recipe.turned.items())
        return recipe.key not in self.trials and not given_up and recipe in self._space

    def _only_failed(self, name: str, choice: Choice) -> bool:
        """Return whether three trials with a choice failed and none ran: every recipe that has it is given up then."""
        outcomes = [told.outcome in RAN for told in self.trials.values() if told.recipe.turned.get(name) == choice]
        return len(outcomes) >= FAILURES and not any(outcomes)
