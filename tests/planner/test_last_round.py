"""The time that is kept for the last round: on a clock that is made up, where every call takes what it is said to."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import pytest

from autotune.planner.request import Request
from autotune.planner.tune import LAST_ROUND, Result, tune
from autotune.search.calls import Calls
from autotune.search.evaluate import CutOffError
from autotune.search.measured import Latency, Quality, Trial
from autotune.search.pace import FIRST_CALLS
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.trial.failure import TrialFailure
from autotune.search.verdict import judged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from autotune.search.task import Task

STARTED_S = 1000.0
LOAD_S, BASELINE_S, PLAN_S = 6.0, 2.0, 0.6
RUINED = 17
"""The place of the one image that loses: by 32 images a recipe is as good, by 18 to 28 it is not clear."""


@dataclass
class Clock:
    """Seconds that pass only where somebody works."""

    now_s: float = STARTED_S

    def work(self, duration_s: float, deadline: float) -> None:
        """Let them pass, up to the deadline. Raises TrialFailure where that comes first."""
        ended_s = self.now_s + duration_s
        self.now_s = max(self.now_s, min(ended_s, deadline))
        if ended_s > deadline:
            raise TrialFailure("timeout", "It took too long.")


@dataclass
class MadeUp:
    """An evaluator on that clock; it opens nothing, and a process is the name of its recipe."""

    task: Task
    clock: Clock
    slower: float = 1.0
    peak_bytes: int = 2**20
    baseline: Recipe = UNMODIFIED
    made: dict[Recipe, set[int]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing was started."""

    def recall(self, trials: Sequence[Trial]) -> None:
        """What an earlier sitting scored is not made again."""
        for trial in trials:
            if trial.quality:
                self.made.setdefault(trial.recipe, set()).update(range(len(trial.quality.scores)))

    def images(self, recipe: Recipe) -> dict[int, Path]:
        del recipe
        return {}

    def call_s(self, recipe: Recipe) -> float:
        call_s = BASELINE_S if recipe == UNMODIFIED else PLAN_S * (1 + len(recipe.key) / 1000)
        return self.slower * call_s

    def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        del best
        facts: dict[str, Any] = {}
        try:
            self.opened(recipe, deadline, facts)
            self.run(self, recipe, range(self.task.screening if self.task.scorer else FIRST_CALLS), deadline, facts)
        except TrialFailure as failure:
            raise CutOffError from failure
        latency = Latency(samples_ms=(1000 * self.call_s(recipe),) * 3)
        quality = self.judged(recipe, self.task.screening) if self.task.scorer else None
        return Trial(
            number=number,
            recipe=recipe,
            outcome="ok",
            latency=latency,
            quality=quality,
            started_at="",
            duration_s=1,
            **facts,
        )

    def opened(self, recipe: Recipe, deadline: float, facts: dict[str, Any]) -> MadeUp:
        del recipe
        self.clock.work(LOAD_S, deadline)
        facts |= {"load_s": LOAD_S, "cold_s": 0.0, "peak_memory_bytes": self.peak_bytes}
        return self

    def run(
        self, process: MadeUp, recipe: Recipe, prompts: Sequence[int], deadline: float, facts: dict[str, Any]
    ) -> Calls:
        del process, facts
        calls = Calls()
        for index in prompts:
            self.clock.work(self.call_s(recipe), deadline)
            self.made.setdefault(recipe, set()).add(index)
            calls.samples_ms.append(1000 * self.call_s(recipe))
        return calls

    def quality(self, recipe: Recipe, deadline: float) -> Quality | None:
        """Make the images that are missing, as far as time goes, and judge by those of which there are pairs."""
        if self.task.scorer is None:
            return None
        count = len(self.task.prompts)
        for each in (recipe, self.baseline):
            missing = sorted(set(range(len(self.task.prompts))) - self.made[each])
            try:
                if missing:
                    self.opened(each, deadline, {})
                    self.run(self, each, missing, deadline, {})
            except TrialFailure:
                count = min(count, *(set(range(len(self.task.prompts))) - self.made[each]))
        return self.judged(recipe, count)

    def judged(self, recipe: Recipe, count: int) -> Quality:
        baseline = [30.0 + index % 3 for index in range(count)]
        own = [score + 0.1 * (index % 2) for index, score in enumerate(baseline)]
        if recipe != UNMODIFIED and count > RUINED:
            own[RUINED] -= 1.5
        bound = judged((own, baseline), self.task.tolerance, len(self.task.prompts)).bound
        return Quality(scorer=self.task.scorer_id, scores=tuple(own), baseline_scores=tuple(baseline), bound=bound)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that all look at, in a home of their own where `tune` finds the made-up evaluator."""
    clock = Clock()
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path))
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    monkeypatch.setattr("autotune.planner.tune.IsolatedEvaluator", lambda task, *_: MadeUp(task, clock))
    return clock


@pytest.fixture
def one_by_one(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The same for pipelines that do not fit side by side."""
    monkeypatch.setattr(
        "autotune.planner.tune.IsolatedEvaluator", lambda task, *_: MadeUp(task, clock, peak_bytes=2**50)
    )
    return clock


def tuned(budget_s: float) -> Result:
    return tune(Request(model="shapes", budget_s=budget_s))


def test_the_verdict_in_question_is_open_by_some_images_and_good_by_all(clock: Clock) -> None:
    evaluator, recipe = MadeUp(tuned(100).task, clock), Recipe(turned={"precision": "bf16"})
    good = [evaluator.judged(recipe, count).shortfall(0.01) <= 0 for count in (16, 18, 22, 28, 32)]
    assert good == [True, False, False, False, True]


@pytest.mark.parametrize("budget_s", [170, 200, 250, 300, 400, 600])
def test_a_winner_is_judged_by_all_images_where_the_budget_allows_it(clock: Clock, budget_s: float) -> None:
    result = tuned(budget_s)
    assert result.plan, result.reason
    assert result.plan.raced
    assert result.plan.quality
    assert len(result.plan.quality.scores) == len(result.task.prompts)
    assert clock.now_s - STARTED_S <= budget_s


def test_a_large_budget_is_searched_but_for_the_last_rounds_share(clock: Clock) -> None:
    begins_s: list[float] = []
    tune(Request(model="shapes", budget_s=1000), lambda _: begins_s.append(clock.now_s))
    assert begins_s[-1] - STARTED_S >= (1 - LAST_ROUND) * 1000


def test_what_ends_too_early_says_how_long_it_takes_and_then_it_does(clock: Clock) -> None:
    result = tuned(100)
    assert clock.now_s == STARTED_S + 100
    assert not any(plan.raced for plan in result.plans)
    assert "the same command goes on, and --budget " in result.reason
    enough_s = float(result.reason.partition("--budget ")[2].partition("s ")[0])
    again = tuned(enough_s)
    assert again.plan, again.reason
    assert again.plan.raced


def test_a_budget_that_is_too_small_gets_further_each_time(clock: Clock) -> None:
    sittings = [tuned(50) for _ in range(4)]
    assert [len(sitting.trials) for sitting in sittings] == [1, 2, 3, 4]
    assert sittings[0].reason.startswith("the budget ended before anything but the baseline was tried")
    assert all("is enough for it" in sitting.reason for sitting in sittings[1:])
    assert clock.now_s - STARTED_S <= 4 * 50


@pytest.mark.parametrize("budget_s", [200, 300, 600])
def test_what_is_loaded_in_turn_ends_within_the_budget_too(one_by_one: Clock, budget_s: float) -> None:
    result = tuned(budget_s)
    assert result.plan, result.reason
    assert result.plan.raced
    assert one_by_one.now_s - STARTED_S <= budget_s


@pytest.mark.parametrize("peak_bytes", [2**20, 2**50])
def test_calls_that_take_a_minute_leave_time_for_more_than_the_baseline(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, peak_bytes: int
) -> None:
    monkeypatch.setattr(
        "autotune.planner.tune.IsolatedEvaluator",
        lambda task, *_: MadeUp(replace(task, scorer=None), clock, slower=30, peak_bytes=peak_bytes),
    )
    result = tuned(900)
    assert len(result.trials) >= 3, result.reason
    assert result.plan, result.reason
    assert result.plan.raced
    assert clock.now_s - STARTED_S <= 900
