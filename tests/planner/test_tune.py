"""What a tuning says of itself where it came to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autotune.planner.request import Request, task_of
from autotune.planner.tune import tune
from autotune.probes.machine import probe
from autotune.search.measured import Latency, Trial
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path


def test_a_budget_that_ends_before_the_baseline_is_measured_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path))
    result = tune(Request(model="shapes", budget_s=0.001))
    assert (result.plans, result.trials) == ((), ())
    assert result.reason.startswith("the budget ended before there was anything to compare with")
    with Store.read() as store:
        assert store.runs("shapes")[0].state == "unfinished", "the same command goes on"


@pytest.mark.parametrize(
    ("slower", "told"),
    [
        ([], "the budget ended before anything but the baseline was tried"),
        ([1.2], "the budget ended before anything faster than the unmodified pipeline and as good was found"),
    ],
)
def test_a_budget_that_ends_early_does_not_say_that_nothing_is_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slower: list[float], told: str
) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path))
    task, _ = task_of(Request(model="shapes"), probe())
    recipes = {UNMODIFIED: 1.0, **{Recipe(turned={"precision": "bf16"}): times for times in slower}}
    trials = tuple(
        Trial(
            number=number,
            recipe=recipe,
            outcome="ok",
            latency=Latency(samples_ms=(100.0 * times, 101.0 * times, 102.0 * times)),
            started_at="",
            duration_s=1,
        )
        for number, (recipe, times) in enumerate(recipes.items())
    )
    with Store.open() as store:
        run = store.begin_run(task.scope, task.machine, fresh=True)
        for trial in trials:
            store.keep_trial(run.id, trial)
    result = tune(Request(model="shapes", budget_s=0.001))
    assert (result.plans, result.trials) == ((), trials)
    assert result.reason.startswith(told)
    assert result.reason.endswith("(the same command goes on)")
    with Store.read() as store:
        assert store.runs("shapes")[0].state == "unfinished", "the same command goes on"
