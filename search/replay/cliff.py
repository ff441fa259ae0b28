"""A made-up world with a memory cliff: what is fast takes room, and beyond a limit nothing runs.

It is for asking how often a sampler tries what cannot fit, once it could know. The effects of choices on latency and
memory are drawn at random, and work against each other as they do in life: larger batches and what is kept at hand.
"""

from __future__ import annotations

import math
import random
from itertools import product
from typing import TYPE_CHECKING

from ..recipe import Recipe
from .table import Row, Table, TableSpace

if TYPE_CHECKING:
    from ..recipe import Choice

CHOICES: dict[str, tuple[Choice, ...]] = {
    "batch": (1, 2, 4, 8),
    "store": ("disk", "host", "card"),
    "kind": ("a", "b", "c", "d"),
    "kept": (0, 1, 2),
    "tiles": (False, True),
    "fused": (False, True),
}
TRADED = 0.6  # of what a choice costs in memory is what it gains in time
GIB = 2**30
FAILING_COST = 0.5  # of a usual trial; what does not fit is found out sooner


def cliff(seed: int, beyond: float = 0.5) -> Table:
    """Return a table of 576 recipes of which a share lies beyond the cliff; memory is in bytes, latency in ms."""
    chance = random.Random(seed)
    memory = {(name, choice): chance.uniform(0, 0.8) for name, found in CHOICES.items() for choice in found}
    latency = {turn: chance.gauss(-TRADED * size, 0.15) for turn, size in memory.items()}
    recipes = [dict(zip(CHOICES, row, strict=True)) for row in product(*CHOICES.values())]
    peaks = {Recipe(turned=each).key: math.exp(sum(memory[turn] for turn in each.items())) * GIB for each in recipes}
    limit = sorted(peaks.values())[int((1 - beyond) * len(peaks)) - 1]
    rows = {}
    for each in recipes:
        recipe = Recipe(turned=each)
        ms = 1000 * math.exp(sum(latency[turn] for turn in each.items()))
        fits = peaks[recipe.key] <= limit
        rows[recipe.key] = Row(
            recipe,
            ms if fits else None,
            (),
            ms if fits else FAILING_COST * ms,
            "" if fits else "out_of_memory",
            int(peaks[recipe.key]) if fits else None,
        )
    space = TableSpace(CHOICES, {key: row.recipe for key, row in rows.items()}, {})
    return Table("memory cliff", space, rows, (), ())
