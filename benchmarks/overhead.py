"""What a tuning takes beside its trials, and how fast a trial's own process starts: `python benchmarks/overhead.py`.

A tuning of `shapes` in a store of its own, told apart by its events: until the first trial, inside trials, between one
and the next (the sampler and the store), and after the last, which is the last round and its images. Before it, fresh
processes are forked from a warm template, timed from the request until they have answered.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import suppress

from autotune.planner.request import Request, task_of
from autotune.planner.tune import tune
from autotune.probes.machine import probe
from autotune.search.measured import Trial
from autotune.search.recipe import Recipe
from autotune.search.trial.failure import TrialFailure
from autotune.search.trial.process import Template
from autotune.search.trial.untouched import told


def starts_ms(count: int) -> list[float]:
    """Return what it takes each of some processes to start and answer, once the template is warm."""
    task, _ = task_of(Request(model="shapes"), probe())
    with Template(task.modules, environment=told(task.machine)) as template:
        taken = [_start_ms(template) for _ in range(count + 1)]
    return taken[1:]  # the first waits for the template's imports


def _start_ms(template: Template) -> float:
    started = time.perf_counter()
    with template.fork() as process:
        with suppress(TrialFailure):  # it has no such command, and says so
            process.ask({"do": "nothing"}, 60)
        return 1000 * (time.perf_counter() - started)


def tuning(budget_s: float) -> str:
    """Tune, and return where the time went."""
    marks: list[tuple[float, object]] = []
    started = time.monotonic()
    tune(Request(model="shapes", budget_s=budget_s), lambda event: marks.append((time.monotonic(), event)))
    ended = time.monotonic()
    begun = [at for at, event in marks if isinstance(event, Recipe)]
    done = [at for at, event in marks if isinstance(event, Trial)]
    inside = sum(event.duration_s for _, event in marks if isinstance(event, Trial))
    searching = done[-1] - begun[0]
    return (
        f"{len(done)} trials in {ended - started:.1f} s: {begun[0] - started:.1f} s until the first, "
        f"{searching:.1f} s until the end of the last, {ended - done[-1]:.1f} s for the last round\n"
        f"inside trials: {inside:.1f} s, {inside / searching:.1%} of the search; "
        f"between them: {1000 * (searching - inside) / len(done):.0f} ms a trial\n"
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=240, metavar="SECONDS", help="of the tuning; 0 for none")
    parser.add_argument("--starts", type=int, default=30, help="processes that are started")
    options = parser.parse_args()
    taken = starts_ms(options.starts)
    spread = f"{min(taken):.0f} to {max(taken):.0f}"
    sys.stdout.write(f"a fresh trial answers after {statistics.median(taken):.0f} ms (median; {spread})\n")
    if options.budget <= 0:
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["AUTOTUNE_HOME"] = home
        sys.stdout.write(tuning(options.budget))


if __name__ == "__main__":
    main()
