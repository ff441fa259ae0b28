"""Recipes that an Optuna sampler suggests, for samplers of ours: one study, and what it must be told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .recipe import Choice, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    import optuna

    from .knobs import Choices
    from .measured import Trial
    from .space import SearchSpace

RAN = ("ok", "slow")
REFUSED = 100.0  # how far what did not run is said to miss the constraint, in points of score


class Suggestions:
    """An Optuna study over a space: it minimizes log-latency, with the quality as a constraint.

    A failed trial is told as a complete and infeasible one with a finite latency, because TPE does not look at
    failed ones (optuna 5.0, `samplers/_tpe/sampler.py`). A suggestion that breaks a rule or was tried before
    costs nothing: it is told at once, and another is asked for. ordered: choices that are numbers are told apart by
    their rank, so that near ones count as alike.
    """

    def __init__(
        self,
        space: SearchSpace,
        tolerance: float,
        sampler: optuna.samplers.BaseSampler,
        *,
        asks: int = 40,
        ordered: bool = False,
    ) -> None:
        """Prepare. tolerance: the share of the baseline's score that may be lost; asks: tries for one that is open."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._tolerance, self._asks = space, tolerance, asks
        self._study = optuna.create_study(sampler=sampler)
        self._open = {name: choices for name, choices in space.choices.items() if len(choices) > 1}
        self._ranked = {name for name, choices in self._open.items() if ordered and is_ordered(choices)}
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.IntDistribution(0, len(choices) - 1)
            if name in self._ranked
            else optuna.distributions.CategoricalDistribution(choices)
            for name, choices in self._open.items()
        }
        self._told: dict[str, Trial] = {}
        self._asked: dict[str, optuna.trial.Trial] = {}
        self._worst: float | None = None

    def ask(self, is_open: Callable[[Recipe], bool]) -> Recipe | None:
        """Return a recipe that is open, None if none was suggested in a number of asks."""
        for _ in range(self._asks):
            asked = self._study.ask(self._distributions)
            recipe = self._recipe(asked.params)
            if is_open(recipe):
                self._asked[recipe.key] = asked
                return recipe
            self._finish(asked, self._told.get(recipe.key))
        return None

    def tell(self, trial: Trial) -> None:
        """Take a trial into account, whoever suggested it."""
        self._told[trial.recipe.key] = trial
        if trial.latency:
            self._worst = max(self._worst or 0.0, trial.cost)
        asked = self._asked.pop(trial.recipe.key, None) or self._asked_for(trial.recipe)
        if asked:
            self._finish(asked, trial)

    def _recipe(self, parameters: Choices) -> Recipe:
        fixed = {name: choices[0] for name, choices in self._space.choices.items()}
        said = {
            name: self._open[name][int(value)] if name in self._ranked else value for name, value in parameters.items()
        }
        return self._space.recipe_of({**fixed, **said})

    def _asked_for(self, recipe: Recipe) -> optuna.trial.Trial | None:
        """Return Optuna's trial for a recipe that it did not suggest; None for one from outside the space."""
        choices = self._space.choices_of(recipe)
        if any(choices[name] not in open_choices for name, open_choices in self._space.choices.items()):
            return None
        self._study.enqueue_trial({name: self._parameter(name, choices[name]) for name in self._distributions})
        return self._study.ask(self._distributions)

    def _parameter(self, name: str, choice: Choice) -> Choice:
        return self._open[name].index(choice) if name in self._ranked else choice

    def _finish(self, asked: optuna.trial.Trial, trial: Trial | None) -> None:
        """Tell Optuna; no trial means that a rule refused the recipe."""
        ran = trial is not None and trial.outcome in RAN
        violation = 0.0 if ran else REFUSED
        if trial is not None and ran and trial.quality:
            violation = trial.quality.shortfall(self._tolerance)
        asked.set_constraint("quality", violation)
        cost = trial.cost if trial is not None and trial.latency else 2 * (self._worst or 1.0)
        self._study.tell(asked, math.log(cost))


def is_ordered(choices: tuple[Choice, ...]) -> bool:
    """Return whether choices are numbers, of which near ones are alike; two alone need no order."""
    return len(choices) > 2 and all(isinstance(choice, int | float) for choice in choices)
