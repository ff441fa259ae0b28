"""A sweep by itself: what is handed out, kept, tried again and gone on with. The cluster is made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.errors import UnfitError
from autotune.planner.lab import schedule
from autotune.planner.lab.journal import Journal, journals
from autotune.planner.lab.places import journal_of
from autotune.planner.lab.result import told
from autotune.planner.lab.sweep import Sweep
from autotune.planner.lab.wanted import Lab
from autotune.planner.pages.render import render
from autotune.store.store import Store

from .fake import RECIPES, DriverKilledError, FakeEngine, machine

if TYPE_CHECKING:
    from pathlib import Path

MACHINES = {"one": "Made Up 1", "two": "Made Up 2", "three": "Made Up 3"}


def lab(**more: Any) -> Lab:
    content = {
        "name": "spring",
        "model": [{"name": "shapes"}, {"name": "tiny"}],
        "machine": [{"every_kind_once": True, "price_per_hour": 3.6}],
    }
    return Lab.model_validate(content | more)


def sweep(folder: Path, wanted: Lab, engine: FakeEngine, *, times: int = 1) -> bool:
    """Have so many sittings, each with a new driver; return whether the last came to the end."""
    ended = False
    for _ in range(times):
        found = next(journals(folder), None)
        journal = found or Journal.begin(folder / "1.jsonl", wanted, fresh=False)
        with Store.open(folder / "lab.db") as store:
            try:
                ended = Sweep(journal, store, engine).run(again=found is not None)
            except DriverKilledError:
                engine._jobs.clear()
                engine.killed_after = 10**9
    return ended


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "WAIT_S", 0.0)


def everything(engine: FakeEngine) -> None:
    """Every recipe was measured once for every model on every kind of machine."""
    wanted = {
        (f"{model} on {make}", recipe.key)
        for model in ("shapes", "tiny")
        for make in MACHINES.values()
        for recipe in RECIPES
    }
    assert sorted(engine.measured) == sorted(wanted)


def test_every_model_on_every_kind(tmp_path: Path) -> None:
    engine = FakeEngine(dict(MACHINES) | {"another one": "Made Up 1"})
    assert sweep(tmp_path, lab(), engine)
    everything(engine)
    with Store.read(tmp_path / "lab.db") as store:
        assert len(store.runs()) == 6
        assert {run.state for run in store.runs()} == {"finished"}
        result = told(next(journals(tmp_path)), store)
    assert result.headline == "spring: 6 of 6 jobs have finished, 6 with a plan."
    assert all(row.cost == pytest.approx(1.003) for row in result.rows), "1.003 s at 3.6 an hour, a thousand times"


def test_what_is_alike_is_begun_with(tmp_path: Path) -> None:
    engine = FakeEngine(dict(MACHINES))
    sweep(tmp_path, lab(), engine)
    first = {str(order.request["model"]): order.first for _, order in reversed(engine.orders)}
    assert not first["shapes"]
    later = [order for _, order in engine.orders if order.first]
    assert all(order.first == tuple(RECIPES[1:]) for order in later), "what took the shortest to try comes first"
    with Store.read(tmp_path / "lab.db") as store:
        rows = told(next(journals(tmp_path)), store).rows
    carried = [row.carried for row in rows if row.carried]
    assert len(carried) == len(later)
    assert all("ran; the plan is one of them" in said for said in carried)


def test_a_driver_killed_at_any_moment_loses_and_repeats_nothing(tmp_path: Path) -> None:
    for moment in range(1, 30, 7):
        engine = FakeEngine(dict(MACHINES), killed_after=moment)
        assert sweep(tmp_path / f"{moment}", lab(), engine, times=2)
        everything(engine)


@settings(max_examples=5)
@given(st.integers(1, 6), st.integers(1, 10), st.integers(3, 30))
def test_machine_process_and_driver_are_lost_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, lose: int, crash: int, killed_after: int
) -> None:
    folder = tmp_path_factory.mktemp("sweep")
    engine = FakeEngine(dict(MACHINES), lose={"one": lose}, crash={"two": crash}, killed_after=killed_after)
    assert not sweep(folder, lab(), engine, times=2), "what only the lost machine can do is left"
    engine.lose.clear()
    engine.killed_after = 10**9
    engine.makes["one"] = MACHINES["one"]
    assert sweep(folder, lab(), engine)
    everything(engine)
    with Store.read(folder / "lab.db") as store:
        result = told(next(journals(folder)), store)
        assert sum(len(run.trials) for run in store.runs()) == len(engine.measured)
    for form in ("sweep.md", "sweep.html"):
        text = render(form, told=result, style="")
        assert "machine lost" in text
        assert "process lost" in text
        assert "the sweep goes on" in text


@settings(max_examples=10)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40))
def test_machines_of_a_kind_share_a_study_and_repeat_nothing(
    tmp_path_factory: pytest.TempPathFactory, first: int, second: int, killed_after: int
) -> None:
    folder = tmp_path_factory.mktemp("sweep")
    makes = dict.fromkeys(("one", "two", "three"), "Made Up 1")
    engine = FakeEngine(makes, crash={"one": first, "two": second}, killed_after=killed_after)
    wanted = lab(model=[{"name": "shapes"}], machine=[{"label": {"make": "Made Up 1"}}], retries=9)
    assert sweep(folder, wanted, engine, times=2)
    assert sorted(key for _, key in engine.measured) == sorted(recipe.key for recipe in RECIPES)
    with Store.read(folder / "lab.db") as store:
        [run] = store.runs()
        assert sorted(trial.recipe.key for trial in run.trials) == sorted(key for _, key in engine.measured)


def test_a_machine_that_is_free_helps_another_of_its_kind(tmp_path: Path) -> None:
    engine = FakeEngine({"one": "Made Up 1", "two": "Made Up 1", "other": "Made Up 2"})
    assert sweep(tmp_path, lab(model=[{"name": "shapes"}], machine=[{"label": {"make": "Made Up 1"}}]), engine)
    assert [order.helps for _, order in engine.orders] == [False, True]
    assert engine.orders[1][1].machine == machine("Made Up 1")
    with Store.read(tmp_path / "lab.db") as store:
        [said] = told(next(journals(tmp_path)), store).shared
    assert said == "shapes, its own calls, latency: one tried 2, two tried 2"


def test_what_is_missing_is_said_at_once(tmp_path: Path) -> None:
    wanted = lab(machine=[{"label": {"make": "Made Up 4"}}])
    with pytest.raises(UnfitError, match=r"make=Made Up 1, make=Made Up 2, make=Made Up 3"):
        sweep(tmp_path, wanted, FakeEngine(dict(MACHINES)))


def test_what_cannot_pass_is_given_up_and_told(tmp_path: Path) -> None:
    engine = FakeEngine(dict(MACHINES), refuses={"tiny": "ModelError"})
    assert sweep(tmp_path, lab(), engine)
    assert sum(order.request["model"] == "tiny" for _, order in engine.orders) == 3, "once a machine"
    with Store.read(tmp_path / "lab.db") as store:
        result = told(next(journals(tmp_path)), store)
    assert sum("ModelError: It is not to be had." in said for said in result.happened) == 3


def test_a_total_budget_leaves_the_rest_for_another_day(tmp_path: Path) -> None:
    engine = FakeEngine(dict(MACHINES))
    models = [{"name": "shapes", "budget": "10m"}, {"name": "tiny", "budget": "1h"}]
    assert not sweep(tmp_path, lab(model=models, total_budget="45m"), engine)
    assert {order.request["model"] for _, order in engine.orders} == {"shapes"}


def test_a_journal_outlives_a_torn_line(tmp_path: Path) -> None:
    engine = FakeEngine(dict(MACHINES), killed_after=9)
    sweep(tmp_path, lab(), engine)
    [file] = tmp_path.glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-7])
    assert sweep(tmp_path, lab(), engine)
    everything(engine)


def test_a_changed_lab_is_another_sweep() -> None:
    one, again = journal_of(lab(), fresh=False)
    assert not again
    assert journal_of(lab(), fresh=False) == (one, True) or journal_of(lab(), fresh=False)[0].file == one.file
    assert journal_of(lab(budget="5m"), fresh=False)[0].file != one.file
    assert journal_of(lab(), fresh=True)[0].file != one.file
