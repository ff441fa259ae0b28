"""What more knobs cost the first search: `python benchmarks/search_cost.py`.

The sampler searches twice, with real choices and rules of this machine: once in the knobs of the measured grid of
`shapes` alone, once in all knobs that there are now. What a recipe costs and gives is looked up in the grid; a recipe
that the grid does not have is made up of the effects that its knobs have there, and a knob that the grid does not know
is, at best, good for nothing: it makes things slower by up to 30 %, differently for each choice. So whatever the search
spends on the new knobs is lost, and the ratio is the price of having them when they do not help.
Printed is what it costs, in seconds of trials, until a recipe within 5 % of the grid's best was tried.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from shapes_grid import TABLE, recipe_in, rows

from autotune.planner.request import Request, task_of
from autotune.probes.machine import probe
from autotune.search.bayesian import BayesianSampler
from autotune.search.measured import Latency, Quality, Trial
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.sampler import TPESampler
from autotune.search.space import Space, space_for
from autotune.search.study import study

NEAR = 1.05  # of the best latency
MOST = 80  # trials
WORST = 0.3  # what a knob that helps nothing may cost at most, as a share of the latency
USUAL_COST_S = 25.0  # of a trial that the grid does not have


@dataclass
class Grid:
    """The measured grid as a world to search in. cost_s: what the trials so far have cost."""

    table: dict[Recipe, dict[str, str]]
    knobs: frozenset[str]
    cost_s: float = 0.0
    found_s: float | None = None
    best_ms: float = field(init=False)

    def __post_init__(self) -> None:
        """Find out what there is to be found."""
        self.best_ms = min(float(row["latency_ms"]) for row in self.table.values() if row["feasible"] == "True")

    def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        """Look a recipe up, as an evaluator would run it."""
        del best, deadline
        latency_ms, feasible, cost_s = self._known(recipe)
        self.cost_s += cost_s
        if feasible and latency_ms <= NEAR * self.best_ms and self.found_s is None:
            self.found_s = self.cost_s
        score = 100.0 if feasible else 90.0
        return Trial(
            number=number,
            recipe=recipe,
            outcome="ok",
            latency=Latency(samples_ms=(latency_ms,)),
            quality=Quality(scorer="grid", scores=(score,), baseline_scores=(100.0,), bound=score - 100),
            started_at="",
            duration_s=cost_s,
        )

    def _known(self, recipe: Recipe) -> tuple[float, bool, float]:
        """Return the latency of a recipe, whether its images are good enough, and what it costs to find out."""
        within = Recipe(turned={name: choice for name, choice in recipe.turned.items() if name in self.knobs})
        strange = [turn for turn in recipe.turned.items() if turn[0] not in self.knobs]
        slower = math.prod(1 + WORST * random.Random(f"{name}={choice}").random() for name, choice in strange)
        row = self.table.get(within)
        if row:
            return float(row["latency_ms"]) * slower, row["feasible"] == "True", float(row["cost_s"])
        gains = [self._gain(turn) for turn in within.turned.items()]
        return float(self.table[UNMODIFIED]["latency_ms"]) * math.prod(gains) * slower, True, USUAL_COST_S

    def _gain(self, turn: tuple[str, Choice]) -> float:
        """Return what a turn does to the latency in the grid: by the recipes that differ in it alone, 1 without any."""
        ratios = [
            float(row["latency_ms"]) / float(self.table[other]["latency_ms"])
            for recipe, row in self.table.items()
            if recipe.turned.get(turn[0]) == turn[1] and (other := recipe.without(turn[0])) in self.table
        ]
        return max(1.0, statistics.median(ratios)) if ratios else 1.0


def main() -> None:
    """Search in both spaces with many seeds, and print the costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE, help="the measured grid")
    parser.add_argument("--seeds", type=int, default=20, help="searches in each space")
    parser.add_argument("--sampler", choices=("bayesian", "turns"), default="bayesian", help="by which sampler")
    parser.add_argument("--unaided", action="store_true", help="without the recipes that are known to be good")
    options = parser.parse_args()
    table = {recipe_in(row): row for row in rows(options.table) if not row["latency_ms"].startswith("invalid")}
    task, _ = task_of(Request(model="shapes"), probe())
    now = space_for(task.setting)
    names = frozenset(name for recipe in table for name in recipe.turned)
    before = Space({name: found if name in names else found[:1] for name, found in now.choices.items()}, now.refused)
    costs = []
    for name, space in (("the grid's knobs", before), ("all knobs", now)):
        kind = BayesianSampler if options.sampler == "bayesian" else TPESampler
        samplers = [kind(space, task.device, task.tolerance, seed) for seed in range(options.seeds)]
        found = [searched(Grid(table, names), each, task.tolerance, unaided=options.unaided) for each in samplers]
        costs.append(statistics.median(found))
        sys.stdout.write(f"{name:<18}{space.size:>12} recipes   {costs[-1]:7.0f} s to within 5 % of the best\n")
    sys.stdout.write(f"ratio {costs[1] / costs[0]:.2f} (medians of {options.seeds})\n")


def searched(grid: Grid, sampler: BayesianSampler | TPESampler, tolerance: float, *, unaided: bool) -> float:
    """Return what a search costs until it has tried a recipe that is nearly the best; infinite if it never does."""
    if unaided:
        sampler._known_good.clear()
    for _ in study(grid, sampler, (), tolerance, time.monotonic() + 3600, MOST):
        if grid.found_s is not None:
            return grid.found_s
    return math.inf


if __name__ == "__main__":
    main()
