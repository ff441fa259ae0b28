"""What is one knob away from what was tried: all of it, or drawn so that the better a trial the more of it is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from .measured import Trial
    from .recipe import Recipe
    from .space import SearchSpace

GOODNESS = 20  # power of how fast a trial was: one a twentieth slower than the best is drawn from a third as often
MOST = 10  # neighbours that are drawn at a time
DRAWS = 50  # at most until there are so many


def around(trials: Sequence[Trial], space: SearchSpace) -> list[Recipe]:
    """Return all that is one knob away from trials, in the space or not."""
    return [
        space.recipe_of({**space.choices_of(trial.recipe), name: choice})
        for trial in trials
        for name, choices in space.choices.items()
        for choice in choices
    ]


def drawn(
    trials: Sequence[Trial], space: SearchSpace, chance: random.Random, is_open: Callable[[Recipe], bool]
) -> list[Recipe]:
    """Return a few open recipes that are one knob away from one of the trials, the better ones drawn from more often.

    A choice that did badly with all others may still be what a good recipe lacks, and what is not the best may lie
    beside what is better yet. Each knob is drawn as often. Source: simulated annealing (Kirkpatrick, Gelatt & Vecchi
    1983), at one temperature, and from all that was tried in the place of the last.
    """
    names = [name for name, choices in space.choices.items() if len(choices) > 1]
    if not trials or not names:
        return []
    best = min(trial.cost for trial in trials)
    weights = [(best / trial.cost) ** GOODNESS for trial in trials]
    found: dict[Recipe, None] = {}
    for base in chance.choices(trials, weights, k=DRAWS):
        name = chance.choice(names)
        moved = space.recipe_of({**space.choices_of(base.recipe), name: chance.choice(space.choices[name])})
        if len(found) < MOST and is_open(moved):
            found[moved] = None
    return list(found)
