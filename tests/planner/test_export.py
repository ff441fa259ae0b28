"""The trials of a run as a table, and that table searched."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import NoPlanError
from autotune.planner.export import trials_table
from autotune.search.measured import Trial
from autotune.search.replay.table import read_table
from autotune.store.store import Store

from ..store.samples import MACHINE, SCOPE, recipe, trial


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path / "home"))


def test_what_was_tried_can_be_searched_again(tmp_path: Path) -> None:
    failed = Trial(
        number=2, recipe=recipe(2), outcome="crashed", detail='it said "no", twice', started_at="", duration_s=3.0
    )
    with Store.open() as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=True)
        for each in (trial(0), trial(1), failed):
            store.keep_trial(run.id, each)
    file = tmp_path / "trials.csv"
    file.write_text(trials_table("shapes"))
    table = read_table(file, ["threads"], "latency_ms", constraints=["feasible==True"], cost="cost_s")
    assert {row.objective for row in table.rows.values()} == {1000.75, 1001.75, None}
    assert table.rows[f"threads={failed.recipe.turned['threads']}"].outcome == "invalid:crashed"
    assert f"run {run.id}" in file.read_text()


def test_nothing_tried_is_nothing_to_export() -> None:
    with pytest.raises(NoPlanError, match="autotune --model shapes"):
        trials_table("shapes")
