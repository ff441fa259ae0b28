"""What a tuning says of itself where it came to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.planner.tune import Request, tune
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
