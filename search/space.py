"""The recipes that this machine and this model allow, and why the others are not among them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Protocol

from .assemble import choices_of
from .knobs import KNOBS, Knob, Setting
from .recipe import UNMODIFIED, Choice, Recipe
from .rules import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .knobs import Choices

COUNTABLE = 20_000  # combinations; a space of more is not gone through but drawn from
TURNED_AT_ONCE = 4  # knobs; a recipe that turns many at random is nearly always refused, broken or slow


class SearchSpace(Protocol):
    """What a sampler needs to know of a space, whether its choices are knobs of autotune or columns of a table."""

    @property
    def choices(self) -> Mapping[str, tuple[Choice, ...]]:
        """The choices that are open, by name."""
        ...

    @property
    def combinations(self) -> int:
        """How many combinations there are, allowed or not."""
        ...

    def __contains__(self, recipe: Recipe) -> bool:
        """Return whether the recipe may be tried."""
        ...

    def recipes(self) -> Iterator[Recipe]:
        """Yield every recipe of the space."""
        ...

    def draw(self, chance: random.Random) -> Recipe:
        """Return a recipe of the space at random."""
        ...

    def choices_of(self, recipe: Recipe) -> Choices:
        """Return the recipe with every choice in it, those that it leaves out too."""
        ...

    def recipe_of(self, choices: Choices) -> Recipe:
        """Return the recipe of these choices, whether it is in the space or not."""
        ...


@dataclass(frozen=True)
class Space:
    """The choices that are open for each knob, and those that are not, each with its reason.

    adapted: whether there are adapters, with which some combinations do not go. room: says why a recipe cannot fit into
    memory, None where it may; no counting asks it.
    """

    choices: dict[str, tuple[Choice, ...]]
    refused: dict[tuple[str, Choice], str]
    adapted: bool = False
    room: Callable[[Recipe], str | None] | None = None

    def why_not(self, recipe: Recipe) -> str | None:
        """Return why a recipe is not in the space, None where it is."""
        for name, choice in recipe.turned.items():
            if name not in self.choices:
                return f"There is no knob {name}."
            if choice not in self.choices[name]:
                reason = self.refused.get((name, choice), f"it has no such choice; there are {self.choices[name]}")
                return f"{name}={choice}: {reason}."
        rule = refusal(choices_of(recipe), adapted=self.adapted)
        if rule:
            return f"{recipe}: {rule.because}."
        crowded = self.room(recipe) if self.room else None
        return f"{recipe}: {crowded}." if crowded else None

    def __contains__(self, recipe: Recipe) -> bool:
        """Return whether the recipe may be tried."""
        return self.why_not(recipe) is None

    def recipes(self) -> Iterator[Recipe]:
        """Yield every recipe of the space, the unmodified one first. Of many knobs there are very many: see `draw`."""
        for row in product(*self.choices.values()):
            choices = dict(zip(self.choices, row, strict=True))
            if not refusal(choices, adapted=self.adapted):
                yield recipe_of(choices)

    def draw(self, chance: random.Random) -> Recipe:
        """Return a recipe at random, with few knobs turned: one after the other, and none that a rule would refuse."""
        open_knobs = [name for name, choices in self.choices.items() if len(choices) > 1]
        drawn = Recipe()
        for name in chance.sample(open_knobs, min(len(open_knobs), chance.randint(1, TURNED_AT_ONCE))):
            further = recipe_of({**drawn.turned, name: chance.choice(self.choices[name])})
            drawn = further if further in self else drawn
        return drawn

    def choices_of(self, recipe: Recipe) -> Choices:
        """Return the recipe with every knob in it."""
        return choices_of(recipe)

    def recipe_of(self, choices: Choices) -> Recipe:
        """Return the recipe of these choices."""
        return recipe_of(choices)

    @property
    def combinations(self) -> int:
        """How many combinations there are if no rule is asked."""
        return math.prod(len(choices) for choices in self.choices.values())

    @property
    def size(self) -> int:
        """How many recipes there are; of a space too large to go through, two digits of an estimate from a sample."""
        if self.combinations <= COUNTABLE:
            return sum(1 for _ in self.recipes())
        chance = random.Random(0)
        rows = ({name: chance.choice(choices) for name, choices in self.choices.items()} for _ in range(COUNTABLE))
        estimate = self.combinations * sum(not refusal(row, adapted=self.adapted) for row in rows) / COUNTABLE
        return int(float(f"{estimate:.1e}"))


def as_open(recipe: Recipe, space: SearchSpace) -> Recipe:
    """Return a recipe from elsewhere without the turns that are not open here; rules may still refuse it."""
    asked, usual = space.choices_of(recipe), space.choices_of(UNMODIFIED)
    return space.recipe_of(
        {
            name: asked[name] if asked.get(name) in choices else usual.get(name, choices[0])
            for name, choices in space.choices.items()
        }
    )


def space_for(setting: Setting, knobs: tuple[Knob, ...] = KNOBS) -> Space:
    """Return what may be tried in a setting: each knob is asked about each of its choices."""
    refused: dict[tuple[str, Choice], str] = {}
    for knob in knobs:
        for choice in knob.choices:
            reason = None if choice == knob.default else knob.refuses(choice, setting)
            if reason:
                refused[knob.name, choice] = reason
    choices = {knob.name: tuple(c for c in knob.choices if (knob.name, c) not in refused) for knob in knobs}
    return Space(choices, refused, bool(setting.added.adapters))


def recipe_of(choices: Mapping[str, Choice]) -> Recipe:
    """Return the recipe of these choices: what equals a knob's default is left out, so equal recipes are equal."""
    defaults = {knob.name: knob.default for knob in KNOBS}
    return Recipe(turned={name: choice for name, choice in choices.items() if choice != defaults[name]})
