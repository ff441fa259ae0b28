"""What a sampler is, and the one that shipped before: by turns a neighbour of the best and what TPE suggests."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

from .heard import Heard
from .portfolio import portfolio, promise
from .recipe import UNMODIFIED, Recipe
from .space import COUNTABLE, SearchSpace
from .suggest import Suggestions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .measured import Trial

PATIENCE = 15
DRAWS = 400


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
        self._heard = Heard(space, tolerance)
        self._known_good = [recipe for recipe in (*first, *portfolio(space, device)) if recipe != UNMODIFIED]
        tpe = optuna.samplers.TPESampler(multivariate=True, seed=seed, n_startup_trials=5)
        self._suggestions = Suggestions(space, tolerance, tpe)
        self._all = list(space.recipes()) if space.combinations <= COUNTABLE else None
        self._random = random.Random(seed)

    def ask(self) -> Recipe | None:
        """Return the next recipe; None when all are tried, or nothing better was seen for a while."""
        for recipe in self._known_good:
            if self._heard.is_open(recipe):
                return recipe
        if self._heard.without_progress >= PATIENCE:
            return None
        near = self._next_to_the_best() if len(self._heard.trials) % 2 else None
        return near or self._suggestions.ask(self._heard.is_open) or self._drawn()

    def _next_to_the_best(self) -> Recipe | None:
        """Return the most promising untried recipe that is one knob away from the best; it also explains the best."""
        if self._heard.best is None:
            return None
        choices = self._space.choices_of(self._heard.best)
        turns = [
            (name, choice)
            for name, open_choices in self._space.choices.items()
            for choice in open_choices
            if choice != choices[name]
        ]
        self._random.shuffle(turns)
        turns.sort(key=lambda turn: promise(turn, choices), reverse=True)
        changed = (self._space.recipe_of({**choices, name: choice}) for name, choice in turns)
        return next(filter(self._heard.is_open, changed), None)

    def _drawn(self) -> Recipe | None:
        """Return any untried recipe, None where there is none, or none was drawn in a number of tries."""
        if self._all is not None:
            untried = list(filter(self._heard.is_open, self._all))
            return self._random.choice(untried) if untried else None
        drawn = (self._space.draw(self._random) for _ in range(DRAWS))
        return next(filter(self._heard.is_open, drawn), None)

    def tell(self, trial: Trial) -> None:
        """Take a trial into account."""
        self._heard.tell(trial)
        self._suggestions.tell(trial)
