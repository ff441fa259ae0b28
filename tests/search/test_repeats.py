"""A trial that was too slow when others came is judged by a baseline that they slowed too."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import pytest

from autotune.probes.load import Load
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.measured import Latency, Trial
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.trial.answers import Ran

from .conftest import MODULES

if TYPE_CHECKING:
    from autotune.search.measured import Outcome
    from autotune.search.task import Task

BF16 = Recipe(turned={"precision": "bf16"})
QUIET, BUSY = Load(cores=2), Load(cores=2, foreign_cores=1.0)


class Told(IsolatedEvaluator):
    """Is told what trials find, and by how much slower the baseline is when it is measured again."""

    def __init__(self, task: Task, trials: list[tuple[Outcome, float, Load]], slower: float) -> None:
        super().__init__(task, MODULES)
        self.trials, self.slower, self.looked = trials, slower, 0

    def _tried(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        del best, deadline
        outcome, ms, load = self.trials.pop(0)
        latency = Latency(samples_ms=(ms,))
        return Trial(
            number=number,
            recipe=recipe,
            outcome=outcome,
            latency=latency,
            load=load,
            drift=self._drift.factor,
            started_at="",
            duration_s=1,
        )

    def _look_at_baseline(self, deadline: float, *, anyhow: bool = False) -> bool:
        if not self._drift.is_due(deadline - time.monotonic(), anyhow=anyhow):
            return False
        self.looked += 1
        self._drift.note(self.slower * (self._drift.first_ms or 0), BUSY)
        return True


@pytest.mark.parametrize(
    ("slower", "load", "left", "looked", "ms"),
    [
        (1.5, BUSY, 0, 1, 120.0),  # the baseline suffered too: 130 ms are 87 in quiet, so it is tried again
        (1.0, BUSY, 1, 1, 130.0),  # the baseline did not: it is the recipe
        (1.5, QUIET, 1, 0, 130.0),  # nobody came
    ],
)
def test_it_is_tried_again_only_if_others_slowed_the_baseline_too(
    task: Task, slower: float, load: Load, left: int, looked: int, ms: float
) -> None:
    evaluator = Told(task, [("ok", 200.0, QUIET), ("slow", 130.0, load), ("ok", 120.0, BUSY)], slower)
    deadline = time.monotonic() + 1000
    evaluator.evaluate(0, UNMODIFIED, math.inf, deadline)
    trial = evaluator.evaluate(1, BF16, 100.0, deadline)
    assert trial.latency
    assert (len(evaluator.trials), evaluator.looked, trial.latency.median_ms) == (left, looked, ms)
    assert trial.median_ms == pytest.approx(80.0 if not left else ms)


class Hot(IsolatedEvaluator):
    """Makes calls of a made-up process, while the GPU is as hot as it is told."""

    def __init__(self, task: Task, slowed: list[bool]) -> None:
        super().__init__(task, MODULES)
        self.slowed, self.rests_s = slowed, list[float]()
        self._watch = self  # type: ignore[assignment]  # it plays that too

    def seen(self) -> None: ...

    def added(self, load: Load) -> Load:
        return load.model_copy(update={"gpu_slowed": self.slowed.pop(0)})

    def rest(self, most_s: float) -> None:
        self.rests_s.append(most_s)

    def _called(self, *_: object) -> Ran:
        return Ran(latency_ms=(float(len(self.slowed)),), steps_ms=(), peak_memory_bytes=1)


@pytest.mark.parametrize(
    ("slowed", "kept_ms", "rests"),
    [
        ([False, False], [2.0, 1.0], 0),
        ([True, False, False], [2.0, 1.0], 1),
        ([True, True, True], [2.0, 1.0], 1),  # it does not cool down: that is how it is here
    ],
)
def test_calls_of_a_hot_gpu_are_made_again_once(
    task: Task, slowed: list[bool], kept_ms: list[float], rests: int
) -> None:
    evaluator = Hot(task, [*slowed])
    calls = evaluator.run(None, BF16, range(2), time.monotonic() + 20, {})  # type: ignore[arg-type]  # nobody looks
    assert calls.samples_ms == kept_ms
    assert [load.gpu_slowed for load in calls.loads] == slowed[-2:]
    assert len(evaluator.rests_s) == rests
    assert all(0 < rest_s <= 20 for rest_s in evaluator.rests_s)
