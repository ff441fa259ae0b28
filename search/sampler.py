"""Which recipe to try next: known good ones, then by turns a neighbour of the best and what Optuna's TPE suggests."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Protocol

from .assemble import choices_of
from .portfolio import portfolio, promise
from .recipe import UNMODIFIED, Choice, Recipe
from .space import COUNTABLE, Space, recipe_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna

    from .measured import Trial

PATIENCE = 15
NEW_BEST = 0.99  # less than this share of the best latency so far counts as progress
ASKS = 40
DRAWS = 400
RAN = ("ok", "slow")
FAILURES = 3  # of one choice, without a success, and it is not tried again
REFUSED = 100.0  # how far what did not run is said to miss the constraint, in points of score


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

    TPE works on log-latency, with the quality as a constraint.

    A failed trial is told as a complete and infeasible one with a finite latency, because TPE does not look at
    failed ones (optuna 5.0, `samplers/_tpe/sampler.py`). A suggestion that breaks a rule or was tried before
    costs nothing: it is told at once, and another is asked for.
    """

    def __init__(
        self, space: Space, device: str, tolerance: float, seed: int = 0, *, first: Sequence[Recipe] = ()
    ) -> None:
        """Prepare. tolerance: the share of the baseline's score that may be lost; first: recipes to begin with."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._tolerance = tolerance
        self._known_good = [recipe for recipe in (*first, *portfolio(space, device)) if recipe != UNMODIFIED]
        self._study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(multivariate=True, seed=seed, n_startup_trials=5)
        )
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.CategoricalDistribution(choices)
            for name, choices in space.choices.items()
            if len(choices) > 1
        }
        self._all = list(space.recipes()) if space.combinations <= COUNTABLE else None
        self._told: dict[str, Trial] = {}
        self._hopeless: set[tuple[str, Choice]] = set()
        self._asked: dict[str, optuna.trial.Trial] = {}
        self._worst_ms = 1.0
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
        return near or self._suggestion() or self._drawn()

    def _is_open(self, recipe: Recipe) -> bool:
        """Return whether a recipe is in the space, was not tried, and has no choice that was given up."""
        given_up = any(turn in self._hopeless for turn in recipe.turned.items())
        return recipe.key not in self._told and not given_up and recipe in self._space

    def _next_to_the_best(self) -> Recipe | None:
        """Return the most promising untried recipe that is one knob away from the best; it also explains the best."""
        if self._best is None:
            return None
        choices = choices_of(self._best)
        turns = [
            (name, choice)
            for name, open_choices in self._space.choices.items()
            for choice in open_choices
            if choice != choices[name]
        ]
        self._random.shuffle(turns)
        turns.sort(key=lambda turn: promise(turn, choices), reverse=True)
        changed = (recipe_of({**choices, name: choice}) for name, choice in turns)
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
        if trial.latency:
            self._worst_ms = max(self._worst_ms, trial.latency.median_ms)
        progress = trial.feasible(self._tolerance) and trial.median_ms < NEW_BEST * self._best_ms
        self._without_progress = 0 if progress else self._without_progress + 1
        if progress:
            self._best, self._best_ms = recipe, trial.median_ms
        self._quarantine(trial)
        asked = self._asked.pop(recipe.key, None) or self._asked_for(recipe)
        if asked:
            self._finish(asked, trial)

    def _quarantine(self, trial: Trial) -> None:
        """Give up a choice with which three trials failed and none ran, and with it every recipe that has it."""
        for name, choice in trial.recipe.turned.items():
            outcomes = [told.outcome in RAN for told in self._told.values() if told.recipe.turned.get(name) == choice]
            if len(outcomes) >= FAILURES and not any(outcomes):
                self._hopeless.add((name, choice))

    def _suggestion(self) -> Recipe | None:
        """Return an untried recipe that TPE suggests, None if it suggests none in a number of asks."""
        for _ in range(ASKS):
            asked = self._study.ask(self._distributions)
            recipe = recipe_of(asked.params)
            if self._is_open(recipe):
                self._asked[recipe.key] = asked
                return recipe
            self._finish(asked, self._told.get(recipe.key))
        return None

    def _asked_for(self, recipe: Recipe) -> optuna.trial.Trial | None:
        """Return Optuna's trial for a recipe that it did not suggest; None for one from outside the space."""
        choices = choices_of(recipe)
        if any(choices[name] not in open_choices for name, open_choices in self._space.choices.items()):
            return None
        self._study.enqueue_trial({name: choices[name] for name in self._distributions})
        return self._study.ask(self._distributions)

    def _finish(self, asked: optuna.trial.Trial, trial: Trial | None) -> None:
        """Tell Optuna; no trial means that a rule refused the recipe."""
        ran = trial is not None and trial.outcome in RAN
        violation = 0.0 if ran else REFUSED
        if trial is not None and ran and trial.quality:
            violation = trial.quality.shortfall(self._tolerance)
        asked.set_constraint("quality", violation)
        latency_ms = trial.median_ms if trial is not None and trial.latency else 2 * self._worst_ms
        self._study.tell(asked, math.log(latency_ms))
