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

from autotune.planner.request import Request, task_of
from autotune.probes.machine import probe
from autotune.search.compiled import file_of
from autotune.search.recipe import Recipe
from autotune.search.space import space_for
from autotune.search.trial.process import Template

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
        with Template(task.modules) as template:
            for number in range(2):
                order = task.order(recipe, Path(home) / f"inductor-{number}")
                with template.fork() as process:
                    told = process.ask({"do": "load", "order": order.model_dump(mode="json")}, LIMIT_S)
                    command = {"do": "run", "prompts": [task.prompts[0]], "seeds": [0], "folder": home}
                    later_s = process.ask(command, LIMIT_S)["latency_ms"][0] / 1000
                cold_s.append(told["cold_s"])
                how = "with what was kept" if number else "with nothing kept"
                sys.stdout.write(f"{how:20} first call {told['cold_s']:7.1f} s, a later one {later_s:.2f} s\n")
                sys.stdout.flush()
        kept = file_of(recipe, order.bench()).stat().st_size
        sys.stdout.write(f"ratio {cold_s[0] / cold_s[1]:.1f}, for {kept / 2**20:.1f} MiB\n")


if __name__ == "__main__":
    main()
