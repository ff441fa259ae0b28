"""Recipes of `shapes` on this machine, one by one, and the main job beside the best of them.

    python benchmarks/shapes_grid.py measure [--minutes 60] [--table FILE]    measure the grid, resumably
    python benchmarks/shapes_grid.py compare [--table FILE] [--budget 270s]   the main job against the grid's best

The grid is, of the knobs that it is about, every recipe under OpenVINO, and of the others all that turn one or two
knobs, those that inductor compiles last. `measure` writes one row a recipe as a replay table: knob columns, what it
cost to try, what came out, and `invalid:OUTCOME` where nothing did. `compare` tunes from nothing, as
`autotune --model shapes` does, then runs its plan and the best feasible recipe of the table against the baseline,
call by call, in one process each, and leaves with 1 if the plan has less than 90 % of the best one's speed-up.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.planner.cli.amounts import parse_budget
from autotune.planner.export import MEASURES, trial_measures
from autotune.planner.request import Request, task_of
from autotune.planner.tune import SPARE_BYTES, tune
from autotune.probes.machine import probe
from autotune.search.assemble import choices_of
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.knobs import KNOBS, Knob
from autotune.search.measured import Trial
from autotune.search.race import race
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.space import Space, recipe_of, space_for
from autotune.search.speedup import speedup

if TYPE_CHECKING:
    from autotune.search.task import Task

TABLE = Path(__file__).parent / "results" / "shapes_cpu_grid.csv"
KNOB_NAMES = [
    "precision",
    "memory_format",
    "fuse_qkv",
    "attention",
    "quantization",
    "tome_ratio",
    "guidance_cutoff",
    "offload",
    "compile",
]
CHEAP_FIRST = {"openvino": 0, "none": 1, "regional": 2, "full": 2}
ENOUGH = 0.9


def main() -> None:
    """Run what is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "compare"))
    parser.add_argument("--table", type=Path, default=TABLE, help="the replay table")
    parser.add_argument("--minutes", type=float, default=90, help="stop measuring after this long; run again to go on")
    parser.add_argument("--budget", default="270s", help="the main job's budget")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["AUTOTUNE_HOME"] = home
        if options.what == "measure":
            measure(options.table, options.minutes)
        else:
            sys.exit(0 if compare(options.table, options.budget) >= ENOUGH else 1)


def measure(table: Path, minutes: float) -> None:
    """Measure what the table does not have yet, the baseline always, and write each row as it is known."""
    deadline = time.monotonic() + 60 * minutes
    task, _ = task_of(Request(model="shapes"), probe())
    recipes = grid(space_for(task.setting, tuple(knob for knob in KNOBS if knob.name in KNOB_NAMES)))
    done = {recipe.key for recipe in known(table)}
    with _evaluator(task) as evaluator:
        for number, recipe in enumerate([UNMODIFIED, *(recipe for recipe in recipes if recipe != UNMODIFIED)]):
            if time.monotonic() > deadline:
                break
            if recipe.key in done and recipe != UNMODIFIED:
                continue
            trial = evaluator.evaluate(number, recipe, math.inf, time.monotonic() + 900)
            sys.stderr.write(
                f"{number:3d} {trial.median_ms:8.0f} ms  {trial.outcome:<14}{recipe}  {trial.detail[:150]!r}\n"
            )
            if recipe.key not in done:
                append(table, trial, task.tolerance)


def grid(space: Space) -> list[Recipe]:
    """Return what is measured, in its order."""
    chosen = [recipe for recipe in space.recipes() if _compile(recipe) == "openvino" or len(recipe.turned) <= 2]
    return sorted(chosen, key=lambda recipe: (CHEAP_FIRST[_compile(recipe)], len(recipe.turned)))


def compare(table: Path, budget: str) -> float:
    """Return the main job's speed-up as a share of that of the table's best feasible recipe."""
    best = min((row for row in rows(table) if row["feasible"] == "True"), key=lambda row: float(row["latency_ms"]))
    budget_s, most_trials = parse_budget(budget)
    result = tune(Request(model="shapes", budget_s=budget_s, most_trials=most_trials, fresh=True))
    if result.plan is None:
        sys.stdout.write(f"No plan: {result.reason}\n")
        return 0.0
    recipes = list(dict.fromkeys([result.plan.recipe, recipe_in(best)]))
    with _evaluator(result.task) as evaluator:
        evaluator.recall(result.trials)
        lanes = race(evaluator, recipes, time.monotonic() + 600, together=True)
    ratios = [speedup(lanes[0].samples_ms, lane.samples_ms) for lane in lanes[1:]]
    for lane, (ratio, low, high) in zip(lanes[1:], ratios, strict=True):
        name = "the main job's plan" if lane.recipe == result.plan.recipe else "the grid's best"
        sys.stdout.write(f"{name}: {lane.recipe}: {ratio:.2f} times the baseline ({low:.2f} to {high:.2f})\n")
    share = ratios[0][0] / ratios[-1][0]
    sys.stdout.write(
        f"{len(result.trials)} trials; {100 * share:.1f} % of the best speed-up of {len(known(table))} recipes\n"
    )
    return share


def _evaluator(task: Task) -> IsolatedEvaluator:
    return IsolatedEvaluator(task, task.modules, task.machine.memory.free_bytes - SPARE_BYTES)


def _compile(recipe: Recipe) -> str:
    return str(choices_of(recipe)["compile"])


def rows(table: Path) -> list[dict[str, str]]:
    """Return the rows of the table, none if it is not there."""
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def known(table: Path) -> list[Recipe]:
    """Return the recipes that the table has."""
    return [recipe_in(row) for row in rows(table)]


def recipe_in(row: dict[str, str]) -> Recipe:
    """Return the recipe that a row is about."""
    return recipe_of({knob.name: _choice(knob, row) for knob in KNOBS})


def _choice(knob: Knob, row: dict[str, str]) -> Choice:
    """Return a knob's choice in a row; a table may be older than the knob."""
    return next(choice for choice in knob.choices if str(choice) == row.get(knob.name, str(knob.default)))


def append(table: Path, trial: Trial, tolerance: float) -> None:
    """Add a row."""
    table.parent.mkdir(parents=True, exist_ok=True)
    new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*KNOB_NAMES, *MEASURES])
        if new:
            writer.writeheader()
        choices = choices_of(trial.recipe)
        writer.writerow({name: choices[name] for name in KNOB_NAMES} | trial_measures(trial, tolerance))


if __name__ == "__main__":
    main()
