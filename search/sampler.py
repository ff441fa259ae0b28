"""What a sampler is, and the one that shipped before: by turns a neighbour of the best and what TPE suggests."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Protocol

from .portfolio import portfolio, promise
from .recipe import UNMODIFIED, Choice, Recipe
from .space import COUNTABLE, SearchSpace
from .suggest import RAN, Suggestions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .measured import Trial

PATIENCE = 15
NEW_BEST = 0.99  # less than this share of the best latency so far counts as progress
DRAWS = 400
FAILURES = 3  # of one choice, without a success, and it is not tried again


class Sampler(Protocol):
    """Says what to try, and hears what came of it."""

    def ask(self) -> Recipe | None:
        """Return the next recipe, never one that was told before; None when nothing is worth trying."""
        ...

    def tell(self, trial: Trial) -> None:
        """Hear of a trial, its own or one of an earlier run."""
        ...


class TPESampler:
    """A portfolio of known good recipes, then neighbours of the best and Optuna's multivariate TPE in turns.

    TPE works on log-latency, with the quality as a constraint: see `Suggestions`.
    """

    def __init__(
        self, space: SearchSpace, device: str, tolerance: float, seed: int = 0, *, first: Sequence[Recipe] = ()
    ) -> None:
        """Prepare. tolerance: the share of the baseline's score that may be lost; first: recipes to begin with."""
        import optuna

        self._space = space
        self._tolerance = tolerance
        self._known_good = [recipe for recipe in (*first, *portfolio(space, device)) if recipe != UNMODIFIED]
        tpe = optuna.samplers.TPESampler(multivariate=True, seed=seed, n_startup_trials=5)
        self._suggestions = Suggestions(space, tolerance, tpe)
        self._all = list(space.recipes()) if space.combinations <= COUNTABLE else None
        self._told: dict[str, Trial] = {}
        self._hopeless: set[tuple[str, Choice]] = set()
        self._best: Recipe | None = None
        self._best_ms = math.inf
        self._without_progress = 0
        self._random = random.Random(seed)

    def ask(self) -> Recipe | None:
        """Return the next recipe; None when all are tried, or nothing better was seen for a while."""
        for recipe in self._known_good:
            if self._is_open(recipe):
                return recipe
        if self._without_progress >= PATIENCE:
            return None
        near = self._next_to_the_best() if len(self._told) % 2 else None
        return near or self._suggestions.ask(self._is_open) or self._drawn()

    def _is_open(self, recipe: Recipe) -> bool:
        """Return whether a recipe is in the space, was not tried, and has no choice that was given up."""
        given_up = any(turn in self._hopeless for turn in recipe.turned.items())
        return recipe.key not in self._told and not given_up and recipe in self._space

    def _next_to_the_best(self) -> Recipe | None:
        """Return the most promising untried recipe that is one knob away from the best; it also explains the best."""
        if self._best is None:
            return None
        choices = self._space.choices_of(self._best)
        turns = [
            (name, choice)
            for name, open_choices in self._space.choices.items()
            for choice in open_choices
            if choice != choices[name]
        ]
        self._random.shuffle(turns)
        turns.sort(key=lambda turn: promise(turn, choices), reverse=True)
        changed = (self._space.recipe_of({**choices, name: choice}) for name, choice in turns)
        return next(filter(self._is_open, changed), None)

    def _drawn(self) -> Recipe | None:
        """Return any untried recipe, None where there is none, or none was drawn in a number of tries."""
        if self._all is not None:
            untried = list(filter(self._is_open, self._all))
            return self._random.choice(untried) if untried else None
        drawn = (self._space.draw(self._random) for _ in range(DRAWS))
        return next(filter(self._is_open, drawn), None)

    def tell(self, trial: Trial) -> None:
        """Take a trial into account."""
        recipe = trial.recipe
        self._told[recipe.key] = trial
        progress = trial.feasible(self._tolerance) and trial.median_ms < NEW_BEST * self._best_ms
        self._without_progress = 0 if progress else self._without_progress + 1
        if progress:
            self._best, self._best_ms = recipe, trial.median_ms
        self._quarantine(trial)
        self._suggestions.tell(trial)

    def _quarantine(self, trial: Trial) -> None:
        """Give up a choice with which three trials failed and none ran, and with it every recipe that has it."""
        for name, choice in trial.recipe.turned.items():
            outcomes = [told.outcome in RAN for told in self._told.values() if told.recipe.turned.get(name) == choice]
            if len(outcomes) >= FAILURES and not any(outcomes):
                self._hopeless.add((name, choice))
