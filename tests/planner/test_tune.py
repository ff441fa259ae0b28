"""What a tuning says of itself where it came to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.planner.request import Request, task_of
from autotune.planner.tune import tune
from autotune.probes.machine import probe
from autotune.search.measured import Latency, Trial
from autotune.search.recipe import UNMODIFIED
from autotune.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_budget_that_ends_before_the_baseline_is_measured_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path))
    result = tune(Request(model="shapes", budget_s=0.001))
    assert (result.plans, result.trials) == ((), ())
    assert result.reason.startswith("the budget ended before there was anything to compare with")
    with Store.read() as store:
        assert store.runs("shapes")[0].state == "unfinished", "the same command goes on"


def test_a_budget_that_ends_after_the_baseline_does_not_say_that_nothing_is_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path))
    task, _ = task_of(Request(model="shapes"), probe())
    with Store.open() as store:
        run = store.begin_run(task.scope, task.machine, fresh=True)
        latency = Latency(samples_ms=(100.0, 101.0, 102.0))
        baseline = Trial(number=0, recipe=UNMODIFIED, outcome="ok", latency=latency, started_at="", duration_s=1)
        store.keep_trial(run.id, baseline)
    result = tune(Request(model="shapes", budget_s=0.001))
    assert (result.plans, result.trials) == ((), (baseline,))
    assert result.reason.startswith("the budget ended before anything but the baseline was tried")
    with Store.read() as store:
        assert store.runs("shapes")[0].state == "unfinished", "the same command goes on"
