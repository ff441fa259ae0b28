"""Whether the same tuning finds the same plan, and whether it does beside a process that burns CPU.

    python benchmarks/steadiness.py benchmarks/results/steadiness.csv --steps 8 --budget 180s

Tunes `shapes` from nothing, three times as it is and five times beside a busy process, each in a home of its own. Then
the plans run against each other in turns, so that it can be said by how much they differ. A row a run, in order.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.planner.request import Request, task_of
from autotune.probes.machine import probe
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.race import race
from autotune.search.recipe import Recipe
from autotune.search.speedup import speedup

if TYPE_CHECKING:
    from collections.abc import Sequence

CLI = "from autotune.planner.cli.main import main; main()"
BUSY = "while True: pass"
AGREE = 1.05
RACE_S = 300
COLUMNS = (
    *("run", "busy_beside", "load_average", "trials", "recipe", "speedup", "speedup_low", "speedup_high", "notes"),
    *("times_as_fast_as_the_first", "low", "high", "verdict"),
)


@dataclass
class Tuned:
    """What one tuning ended with."""

    busy_beside: int
    load_average: float
    trials: int
    plan: dict[str, Any] | None
    reason: str

    def __str__(self) -> str:
        """Say it as it comes."""
        notes = self.plan["notes"] if self.plan else ()
        return f"{self.busy_beside} busy beside, {self.trials} trials: {self.recipe} {notes} {self.reason}"

    @property
    def recipe(self) -> Recipe | None:
        """The recipe of its plan."""
        return Recipe(turned=self.plan["recipe"]["turned"]) if self.plan else None


def main() -> None:
    """Tune, race the plans, and write the table; leave with 1 where plans differ by more than 5 % beyond doubt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=128, help="pixels a side: few are for a machine that is shared")
    parser.add_argument("--budget", default="300s")
    parser.add_argument("--alone", type=int, default=3, help="tunings without a busy process of ours")
    parser.add_argument("--beside", type=int, default=5, help="tunings beside one")
    asked = parser.parse_args()
    runs = []
    for busy_beside in (*[0] * asked.alone, *[1] * asked.beside):
        runs.append(tuned(busy_beside, asked))
        print(runs[-1], flush=True)
    found = compared([recipe for run in runs if (recipe := run.recipe)], asked)
    rows = [row(number, run, found) for number, run in enumerate(runs, 1)]
    with asked.table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    print(*rows, sep="\n")
    sys.exit(any(each[-1] in {"differs", "no plan"} for each in rows))


def tuned(busy_beside: int, asked: argparse.Namespace) -> Tuned:
    """Tune in a home of its own, and say what came of it."""
    how = ["--steps", str(asked.steps), "--size", str(asked.size), "--budget", asked.budget, "--json"]
    command = [sys.executable, "-c", CLI, "--model", "shapes", *how]
    with tempfile.TemporaryDirectory() as home:
        busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy_beside)]
        try:
            environment = os.environ | {"AUTOTUNE_HOME": home}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        finally:
            for each in busy:
                each.kill()
                each.wait()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if not events or events[-1]["event"] != "done":
        raise SystemExit(done.stderr)
    trials = sum(event["event"] == "trial_end" for event in events)
    return Tuned(busy_beside, round(os.getloadavg()[0], 2), trials, events[-1]["plan"], events[-1]["reason"])


def compared(recipes: Sequence[Recipe], asked: argparse.Namespace) -> dict[Recipe, tuple[float, float, float]]:
    """Return how many times as fast as the first each recipe is, from calls in turns."""
    distinct = list(dict.fromkeys(recipes))
    if not distinct:
        return {}
    task, _ = task_of(Request(model="shapes", steps=asked.steps, width=asked.size, height=asked.size), probe())
    found = {distinct[0]: (1.0, 1.0, 1.0)}
    with IsolatedEvaluator(task, task.modules) as evaluator:
        evaluator.baseline = distinct[0]
        for rival in distinct[1:]:
            first, other = race(evaluator, [rival], time.monotonic() + RACE_S, together=True)
            found[rival] = speedup(first.samples_ms, other.samples_ms)
            print(rival, other.fell_out, found[rival], flush=True)
    return found


def row(number: int, run: Tuned, found: dict[Recipe, tuple[float, float, float]]) -> tuple[Any, ...]:
    """Return the row of one tuning."""
    start = (number, run.busy_beside, run.load_average, run.trials)
    if run.plan is None or run.recipe is None:
        return (*start, *[""] * 8, "no plan")
    plan, (ratio, low, high) = run.plan, found[run.recipe]
    same = run.recipe == next(iter(found))
    agrees = 1 / AGREE <= ratio <= AGREE
    verdict = "the same" if same else "within 5 %" if agrees else "tied" if low <= 1 <= high else "differs"
    figures = [round(plan[name], 3) for name in ("speedup", "speedup_low", "speedup_high")]
    measured = [round(figure, 3) for figure in (ratio, low, high)]
    return (*start, str(run.recipe), *figures, " ".join(plan["notes"]), *measured, verdict)


if __name__ == "__main__":
    main()
