"""Every sampler by its name, behind one interface: plain ones to compare with, and the one that ships."""

from __future__ import annotations

import random
import warnings
from typing import TYPE_CHECKING

from ..errors import UsageError
from .bayesian import BayesianSampler
from .sampler import Sampler, TPESampler
from .space import COUNTABLE, as_open
from .suggest import Suggestions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import optuna

    from .measured import Trial
    from .recipe import Recipe
    from .space import SearchSpace

DRAWS = 400


class ListedSampler:
    """Tries the recipes of a space in a given order; of a large one, what is drawn."""

    def __init__(self, recipes: Iterator[Recipe]) -> None:
        """Prepare."""
        self._recipes = recipes
        self._told: set[str] = set()

    def ask(self) -> Recipe | None:
        """Return the next recipe that was not told; None at the end."""
        return next((recipe for recipe in self._recipes if recipe.key not in self._told), None)

    def tell(self, trial: Trial) -> None:
        """Hear that a recipe was tried; nothing else is learnt of it."""
        self._told.add(trial.recipe.key)


class Begun:
    """A sampler that is asked once what is known from elsewhere was tried: a warm start for any of them."""

    def __init__(self, first: Sequence[Recipe], sampler: Sampler, space: SearchSpace) -> None:
        """Prepare. first: recipes, whose choices are those that are open; what the space has not then is left out."""
        fitted = dict.fromkeys(as_open(recipe, space) for recipe in first)
        self._first = [recipe for recipe in fitted if recipe in space]
        self._sampler = sampler

    def ask(self) -> Recipe | None:
        """Return the next recipe."""
        return self._first[0] if self._first else self._sampler.ask()

    def tell(self, trial: Trial) -> None:
        """Take a trial into account."""
        self._first = [recipe for recipe in self._first if recipe != trial.recipe]
        self._sampler.tell(trial)


class OptunaSampler:
    """What a sampler of Optuna's suggests, and where it suggests nothing new, something at random."""

    def __init__(self, space: SearchSpace, sampler: optuna.samplers.BaseSampler, seed: int, asks: int = 10) -> None:
        """Prepare."""
        self._space = space
        self._suggestions = Suggestions(space, 0.0, sampler, asks=asks, ordered=True)
        self._others = ListedSampler(at_random(space, seed))
        self._told: set[str] = set()

    def ask(self) -> Recipe | None:
        """Return a recipe that was not tried; None when all are."""
        return self._suggestions.ask(self._is_open) or self._others.ask()

    def tell(self, trial: Trial) -> None:
        """Take a trial into account."""
        self._told.add(trial.recipe.key)
        self._others.tell(trial)
        self._suggestions.tell(trial)

    def _is_open(self, recipe: Recipe) -> bool:
        return recipe.key not in self._told and recipe in self._space


def at_random(space: SearchSpace, seed: int) -> Iterator[Recipe]:
    """Yield the recipes of a space in a random order; of one too large to go through, some that are drawn."""
    chance = random.Random(seed)
    if space.combinations <= COUNTABLE:
        recipes = list(space.recipes())
        chance.shuffle(recipes)
        yield from recipes
        return
    for _ in range(COUNTABLE):
        yield space.draw(chance)


def _tpe(space: SearchSpace, seed: int) -> Sampler:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
    return OptunaSampler(space, sampler, seed)


def _gp(space: SearchSpace, seed: int) -> Sampler:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
    return OptunaSampler(space, sampler, seed, asks=3)  # each takes it a second or so


def _nsga2(space: SearchSpace, seed: int) -> Sampler:
    import optuna

    return OptunaSampler(space, optuna.samplers.NSGAIISampler(population_size=10, seed=seed), seed)


SAMPLERS: dict[str, tuple[Callable[[SearchSpace, int], Sampler], str]] = {
    "random": (lambda space, seed: ListedSampler(at_random(space, seed)), "without replacement"),
    "grid": (lambda space, _: ListedSampler(space.recipes()), "in the order of the table"),
    "tpe": (_tpe, "Optuna's TPE, multivariate and with groups"),
    "gp": (_gp, "Optuna's Gaussian process"),
    "nsga2": (_nsga2, "Optuna's NSGA-II, in populations of 10"),
    "bayesian": (
        lambda space, seed: BayesianSampler(space, "cpu", 0.0, seed),
        "known good ones, then expected improvement per cost by a Gaussian process over choices",
    ),
    "turns": (
        lambda space, seed: TPESampler(space, "cpu", 0.0, seed),
        "known good ones, then neighbours and TPE in turns",
    ),
}
"""What makes each sampler, and what it is."""

DEFAULT = "bayesian"
"""The one that ships."""


def sampler_of(name: str, space: SearchSpace, seed: int) -> Sampler:
    """Return the sampler of a name, for a space where constraints are met or not. Raises UsageError."""
    if name not in SAMPLERS:
        msg = f"There is no sampler {name!r}; there are {', '.join(SAMPLERS)}."
        raise UsageError(msg)
    return SAMPLERS[name][0](space, seed)
