"""A job whose trials sleep, for labs in which only time counts: `python -m autotune.tests.lab.scripted FILE`.

Everything is as in life but for the processes of trials and the last round. What a recipe takes is made up from its
choices, the same everywhere. LAB_TRIAL_S: how long a trial sleeps; LAB_SLOW: by how much this machine is slower;
LAB_LOG: a file that gets a line for each trial that is on the disk, with the process, the run and the recipe.
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from autotune.planner import tune
from autotune.planner.apart import say as channelled
from autotune.planner.lab import job
from autotune.search.evaluate import CutOffError
from autotune.search.measured import Latency, Trial
from autotune.search.race import Lane
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.store.run import now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autotune.search.task import Task

BASELINE_MS = 100.0


def latency_ms(recipe: Recipe) -> float:
    """Return what a recipe takes: each turned knob is worth something between a third less and a tenth more."""
    share = 1.0
    for turn in recipe.turned.items():
        share *= 0.67 + 0.43 * (zlib.crc32(repr(turn).encode()) % 1000) / 1000
    return BASELINE_MS * share


class Scripted:
    """In the place of the evaluator that starts processes."""

    def __init__(self, task: Task, *_: object) -> None:
        self.task = task
        self.baseline = UNMODIFIED
        self._trial_s = float(os.environ.get("LAB_TRIAL_S", "0"))
        self._slow = float(os.environ.get("LAB_SLOW", "1"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def recall(self, trials: object) -> None: ...

    def quality(self, *_: object) -> None: ...

    def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        del best
        time.sleep(self._trial_s)
        if time.monotonic() >= deadline:
            raise CutOffError
        return Trial(
            number=number,
            recipe=recipe,
            outcome="ok",
            latency=Latency(samples_ms=(latency_ms(recipe) * self._slow,) * 3),
            load_s=1.0,
            cold_s=0.1,
            peak_memory_bytes=2**20 + zlib.crc32(recipe.key.encode()) % 2**20,
            drift=self._slow,
            started_at=now(),
            duration_s=self._trial_s,
        )


def race(evaluator: Scripted, recipes: Sequence[Recipe], *_: object, **__: object) -> list[Lane]:
    """Return lanes that say what the trials said."""
    facts: dict[str, Any] = {"load_s": 1.0, "cold_s": 0.1, "peak_memory_bytes": 2**20}
    return [Lane(recipe, samples_ms=[latency_ms(recipe)] * 8, facts=facts) for recipe in (evaluator.baseline, *recipes)]


def say(output: IO[str], answer: dict[str, Any]) -> None:
    """Log a trial, which is kept by then, and tell the driver."""
    file = os.environ.get("LAB_LOG")
    if file and "trial" in answer:
        recipe = Recipe.model_validate(answer["trial"]["recipe"])
        with Path(file).open("a") as log:
            log.write(f"{os.getpid()}\t{os.environ['LAB_JOB']}\t{recipe.key}\n")
    if file and "prepared" in answer:
        os.environ["LAB_JOB"] = answer["prepared"]["run"]["id"]
    channelled(output, answer)


def main() -> None:
    stand_ins = (
        (tune, "IsolatedEvaluator", Scripted),
        (tune, "race", race),
        (tune, "keep_images", lambda *_: None),
        (job, "say", say),
    )
    for module, name, stand_in in stand_ins:
        setattr(module, name, stand_in)
    job.main()


if __name__ == "__main__":
    main()
    sys.exit()
