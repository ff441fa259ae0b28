"""What kept code saves: `python benchmarks/compile_cache.py [MODEL] [--compile regional]`.

The same recipe is loaded twice as trials are, in processes and inductor folders of their own, first with nothing kept
and then with what the first has kept. Prints the seconds of the first call of each, of a later call, and the ratio.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.planner.request import Request, task_of
from autotune.probes.machine import probe
from autotune.search.compiled import file_of
from autotune.search.recipe import Recipe
from autotune.search.space import space_for
from autotune.search.trial.process import Template
from autotune.search.trial.untouched import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autotune.search.task import Task

LIMIT_S = 3600


def main() -> None:
    """Load twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="shapes", help="a short name or a folder")
    parser.add_argument("--compile", default="regional", help="what inductor compiles: regional, full, or a mode of it")
    parser.add_argument("--steps", type=int, help="denoising steps")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["AUTOTUNE_HOME"] = home
        task, _ = task_of(Request(model=options.model, steps=options.steps), probe())
        recipe = Recipe(turned={"compile": options.compile})
        reason = space_for(task.setting).why_not(recipe)
        if reason:
            sys.exit(reason)
        cold_s = []
        for number, (first_s, later_s) in enumerate(first_calls(task, recipe, Path(home))):
            how = "with what was kept" if number else "with nothing kept"
            sys.stdout.write(f"{how:20} first call {first_s:7.1f} s, a later one {later_s:.2f} s\n")
            sys.stdout.flush()
            cold_s.append(first_s)
        order = task.order(recipe, Path(home))
        kept = file_of(recipe, order.bench()).stat().st_size
        sys.stdout.write(f"ratio {cold_s[0] / cold_s[1]:.1f}, for {kept / 2**20:.1f} MiB\n")


def first_calls(task: Task, recipe: Recipe, folder: Path) -> Iterator[tuple[float, float]]:
    """Yield the seconds of a process's first call and of a later one: with nothing kept, then with what that left."""
    with Template(task.modules, environment=told(task.machine)) as template:
        for number in range(2):
            order = task.order(recipe, folder / f"inductor-{number}")
            with template.fork() as process:
                loaded = process.ask({"do": "load", "order": order.model_dump(mode="json")}, LIMIT_S)
                command = {"do": "run", "prompts": [task.prompts[0]], "seeds": [0], "folder": str(folder)}
                later_ms = process.ask(command, LIMIT_S)["latency_ms"][0]
            yield loaded["cold_s"], later_ms / 1000


if __name__ == "__main__":
    main()
