"""Which recipe to try next: the one of whose gain most is expected for what it costs to find out."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np

from . import neighbours
from .chances import LIKELY, chance_to_be_good, chance_to_fit, chance_to_run
from .heard import Heard
from .portfolio import PROMISING, portfolio, promise
from .recipe import UNMODIFIED, Recipe
from .space import COUNTABLE, SearchSpace, as_open
from .surrogate import Kinship, Surrogate, expected_gain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .measured import Trial

STARTS = 3  # trials before anything is predicted, each as unlike the others as can be
PATIENCE = 15  # trials without progress, or more in a large space; then it ends, unless much is still expected
PATIENCE_A_DOUBLING = 2  # of the recipes
RESTLESS = 8  # trials without progress; then every second is a neighbour of a good one, whatever is expected of it
BEST = 3  # recipes whose neighbours are always looked at
FAST = 0.5  # share of the trials of which it counts how fast they are; all others are as slow as the slowest of them
FEW = 8  # trials of which it counts at least
WORTHWHILE = 0.005  # an expected gain, as a share of the latency
DRAWS = 30  # a trial, of recipes to look at from then on, in a space that is too large to go through
KEPT = 300  # of those, the newest
POOL = 500  # recipes looked at before a trial
THRIFT = 0.5  # the power of the predicted cost that an expected gain is divided by


class BayesianSampler:
    """Known good recipes first, then expected improvement per predicted cost, by a Gaussian process over the choices.

    The improvement is that of log-latency; it is weighed with the probability that the recipe runs, and that it meets
    the constraint. Where nothing better comes for a while, neighbours of good ones are tried by turns.
    """

    def __init__(  # noqa: PLR0913
        self,
        space: SearchSpace,
        device: str,
        tolerance: float,
        seed: int = 0,
        *,
        first: Sequence[Recipe] = (),
        known_good: bool = True,
    ) -> None:
        """Prepare. tolerance: the share of the baseline's score that may be lost; first: recipes to begin with."""
        self._space = space
        self._tolerance = tolerance
        self._heard = Heard(space, tolerance)
        known = portfolio(space, device) if known_good else ()
        begun = [as_open(recipe, space) for recipe in first]
        self._known_good: list[Recipe] = [recipe for recipe in (*begun, *known) if recipe != UNMODIFIED]
        self._kinship = Kinship(space.choices)
        self._random = random.Random(seed)
        self._all = _Listed(space, self._kinship) if space.combinations <= COUNTABLE else None
        self._patience = max(PATIENCE, PATIENCE_A_DOUBLING * math.log2(self._all.size if self._all else COUNTABLE))
        self._drawn: list[Recipe] = []
        self._left: frozenset[str] = frozenset()

    def leave(self, keys: Collection[str]) -> None:
        """Hear which recipes others try now, by their keys: they are not asked for until they are left no longer."""
        self._left = frozenset(keys)

    def tell(self, trial: Trial) -> None:
        """Take a trial into account."""
        given_up = self._heard.tell(trial)
        if self._all is not None:
            self._all.close([trial.recipe.key])
            for nogood in given_up:
                self._all.close(recipe.key for recipe in self._all.recipes if nogood <= recipe.turned.items())

    def ask(self) -> Recipe | None:
        """Return the next recipe; None when all are tried, or nothing better was seen for a while."""
        known = next(filter(self._is_open, self._known_good), None)
        known = known or (self._promising() if len(self._heard.trials) % 2 else None)
        if known:
            return known
        moves = self._moves()
        candidates, left = self._candidates(moves)
        if not candidates:
            return None
        tried = [trial for trial in self._heard.trials.values() if self._has(trial.recipe)]
        right = codes_of([trial.recipe for trial in tried], self._space, self._kinship)
        if len(tried) < STARTS:
            return candidates[self._unlike(left, right)]
        return self._predicted(candidates, left, tried, right, moves)

    def _predicted(
        self,
        candidates: Sequence[Recipe],
        left: np.ndarray,
        tried: Sequence[Trial],
        right: np.ndarray,
        moves: Sequence[Recipe],
    ) -> Recipe | None:
        """Return the first move that fits, or the candidate of which most is expected for its cost.

        None where too little is expected of all. left: codes of the candidates, right: of what was tried.
        """
        among, across = self._kinship.features(right, right), self._kinship.features(left, right)
        fits = chance_to_fit(tried, among, across)
        able = fits * chance_to_run(tried, among, across) * chance_to_be_good(tried, self._tolerance, among, across)
        gain = able * self._gain(tried, among, across, FAST)
        if self._is_too_little(gain) and self._is_too_little(able * self._gain(tried, among, across, 1.0)):
            return None
        fit = {recipe for recipe, chance in zip(candidates, fits, strict=True) if chance >= LIKELY}
        move = next((move for move in moves if move in fit), None)
        if move:
            return move
        costs = np.log([max(trial.duration_s, 1e-9) for trial in tried])
        predicted, _ = Surrogate.fit(among, costs).predict(across)
        worth = np.where(fits < LIKELY, -1 + fits, gain / np.exp(THRIFT * predicted))
        return candidates[int(np.argmax(worth))]

    def _is_too_little(self, gain: np.ndarray) -> bool:
        """Return whether what is expected of the candidates is not worth a further trial."""
        return self._heard.without_progress >= self._patience and bool(gain.max() < WORTHWHILE)

    def _promising(self) -> Recipe | None:
        """Return the best recipe with one turn more, of which others report gains; the most promising that is open."""
        if self._heard.best is None:
            return None
        choices = self._space.choices_of(self._heard.best)
        turns = [
            (name, choice)
            for name, choice in PROMISING
            if name in choices and choices[name] != choice and promise((name, choice), choices) > 0
        ]
        changed = (self._space.recipe_of({**choices, name: choice}) for name, choice in turns)
        return next(filter(self._is_open, changed), None)

    def _gain(self, tried: Sequence[Trial], among: np.ndarray, across: np.ndarray, fast: float) -> np.ndarray:
        """Return the expected improvement of log-latency; without any latency yet, all are alike.

        How slow the slow ones are says little of which is the fastest, but would be most of what the process explains.
        fast: the share of the trials of which it counts how fast they are.
        """
        ran = np.array([trial.latency is not None for trial in tried])
        if not ran.any():
            return np.ones(across.shape[1])
        logs = np.log([trial.cost for trial in tried if trial.latency])
        best = math.log(self._heard.best_cost) if math.isfinite(self._heard.best_cost) else float(logs.max())
        count = min(len(logs), max(FEW, math.ceil(fast * len(logs))))
        slow = max(best, float(np.sort(logs)[count - 1]))
        given_up = np.array([trial.latency.at_least for trial in tried if trial.latency]) & (logs < slow)
        process = Surrogate.fit_bounded(among[:, ran][:, :, ran], np.minimum(logs, slow), given_up)
        mean, deviation = process.predict(across[:, :, ran])
        return expected_gain(mean, deviation, best)

    def _unlike(self, left: np.ndarray, right: np.ndarray) -> int:
        """Return which candidate is least like anything tried; of those that tie, any."""
        noise = np.array([1e-6 * self._random.random() for _ in left])
        if not len(right):
            return int(np.argmax(noise))
        single, _, _ = self._kinship.features(left, right)
        return int(np.argmin(single.max(axis=1) + noise))

    def _candidates(self, moves: Sequence[Recipe]) -> tuple[list[Recipe], np.ndarray]:
        """Return untried recipes with their codes: all, or a sample with the neighbours of the best and the moves."""
        best = sorted(self._able(), key=lambda trial: trial.cost)[:BEST]
        near = [*moves, *neighbours.around(best, self._space)]
        if self._all is not None:
            return self._all.sample(self._random, POOL, near, self._left)
        self._drawn = [*self._drawn[-KEPT:], *(self._space.draw(self._random) for _ in range(DRAWS))]
        found = [recipe for recipe in dict.fromkeys([*near, *self._drawn]) if self._is_open(recipe)]
        return found, codes_of(found, self._space, self._kinship)

    def _moves(self) -> list[Recipe]:
        """Return neighbours of good trials, to be tried in this order, where it is time for one; else none."""
        if self._heard.without_progress < RESTLESS or len(self._heard.trials) % 2:
            return []
        return neighbours.drawn(self._able(), self._space, self._random, self._is_open)

    def _able(self) -> list[Trial]:
        """Return the trials that ran and meet the constraint."""
        return [trial for trial in self._heard.trials.values() if trial.feasible(self._tolerance)]

    def _is_open(self, recipe: Recipe) -> bool:
        return recipe.key not in self._left and self._heard.is_open(recipe)

    def _has(self, recipe: Recipe) -> bool:
        """Return whether the space has every choice of a recipe; one of an earlier run may have others."""
        choices = self._space.choices_of(recipe)
        return all(choices[name] in open_choices for name, open_choices in self._space.choices.items())


def codes_of(recipes: Sequence[Recipe], space: SearchSpace, kinship: Kinship) -> np.ndarray:
    """Return a row of codes for each recipe."""
    rows = [kinship.code(space.choices_of(recipe)) for recipe in recipes]
    return np.array(rows, dtype=int).reshape(len(recipes), kinship.knobs)


class _Listed:
    """Every recipe of a space with its codes, and which of them are still open."""

    def __init__(self, space: SearchSpace, kinship: Kinship) -> None:
        self.recipes = list(space.recipes())
        self._places = {recipe.key: place for place, recipe in enumerate(self.recipes)}
        self._codes = codes_of(self.recipes, space, kinship)
        self.size = len(self.recipes)
        self._open = np.ones(len(self.recipes), dtype=bool)

    def close(self, keys: Iterable[str]) -> None:
        """Take recipes out, by their keys."""
        self._open[[self._places[key] for key in keys if key in self._places]] = False

    def sample(
        self, chance: random.Random, most: int, near: Iterable[Recipe], left: Collection[str]
    ) -> tuple[list[Recipe], np.ndarray]:
        """Return recipes that are open and their codes: all but those of `left`, or so many at random and `near`."""
        is_open = self._open.copy()
        is_open[[self._places[key] for key in left if key in self._places]] = False
        places = np.flatnonzero(is_open)
        if len(places) > most:
            asked = {self._places[recipe.key] for recipe in near if recipe.key in self._places}
            asked |= {*chance.sample(places.tolist(), most)}
            places = np.array(sorted(place for place in asked if is_open[place]), dtype=int)
        return [self.recipes[place] for place in places], self._codes[places]
