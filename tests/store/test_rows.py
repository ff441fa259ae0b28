from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from sqlite_utils import Database

from autotune.probes.machine import Machine
from autotune.search.measured import Trial
from autotune.search.plan import Plan, Scope
from autotune.store.rows import Row, machine_row, plan_row, run_row, trial_row, values_in
from autotune.store.run import Run, new_id, now

from ..strategies import machines, plans, scopes, trials
from .samples import SCOPE, trial

if TYPE_CHECKING:
    from autotune.value import Value


def through_sqlite(row: Row) -> sqlite3.Row:
    """Return the row as SQLite gives it back, with the number that it gives to it."""
    db = Database(memory=True)
    db.table("kind").insert(row)
    db.conn.row_factory = sqlite3.Row
    found: sqlite3.Row = db.execute("SELECT rowid AS kept, * FROM kind").fetchone()
    db.close()
    return found


def back(row: Row, kind: type[Value]) -> Value:
    values, damaged = values_in([through_sqlite(row)], kind)
    assert not damaged
    return values[0]


@given(plan=plans())
def test_a_plan_comes_back_as_it_was(plan: Plan) -> None:
    assert back(plan_row(plan, provisional=True), Plan) == plan


@given(trial=trials())
def test_a_trial_comes_back_as_it_was(trial: Trial) -> None:
    assert back(trial_row("a run", trial), Trial) == trial


@given(machine=machines())
def test_a_machine_comes_back_as_it_was(machine: Machine) -> None:
    found = back(machine_row(machine), Machine)

    assert found == machine
    assert isinstance(found, Machine)
    assert found.fingerprint == machine.fingerprint


@given(scope=scopes())
def test_a_run_comes_back_unfinished_and_without_its_trials(scope: Scope) -> None:
    run = Run(id=new_id(), scope=scope, state="new", started_at=now(), trials=(trial(0),))

    assert back(run_row(run), Run) == run.model_copy(update={"state": "unfinished", "trials": ()})


def test_a_finished_run_comes_back_finished() -> None:
    run = Run(id=new_id(), scope=SCOPE, state="finished", started_at=now(), ended_at=now(), reason="budget used up")

    assert back(run_row(run), Run) == run


@pytest.mark.parametrize("column", ["run_id", "recipe_key", "document", "sha256"])
@pytest.mark.parametrize("content", ["", "another", None, 7, 0.5, b"bytes"])
def test_a_row_that_was_changed_is_no_value(column: str, content: object) -> None:
    row = trial_row("a run", trial(1))
    changed = {**row, column: content}

    assert values_in([through_sqlite(changed)], Trial) == ([], [1])  # type: ignore[arg-type]


def test_the_others_are_still_values() -> None:
    rows = [through_sqlite(row) for row in (trial_row("a", trial(0)), {**trial_row("a", trial(1)), "document": ""})]

    assert values_in(rows, Trial) == ([trial(0)], [1])


def test_a_sealed_row_of_another_form_is_no_value() -> None:
    assert values_in([through_sqlite(trial_row("a run", trial(1)))], Plan) == ([], [1])


def test_ids_are_of_version_7_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moments_ns = [0, 1_000_000, 1_767_225_600_000_000_000, 1_767_225_600_001_000_000]
    ids = []
    for moment_ns in moments_ns:
        monkeypatch.setattr("autotune.store.run.time.time_ns", lambda moment_ns=moment_ns: moment_ns)
        ids.append(new_id())

    assert ids == sorted(ids)
    assert all(name[14] == "7" and name[19] in "89ab" and len(name) == 36 for name in ids)
    assert len({new_id() for _ in range(1000)}) == 1000


def test_a_scope_from_before_there_were_additions_is_the_same_scope() -> None:
    """Its key is the one that stores have: plans and unfinished runs are found again."""
    assert SCOPE.key == "38c893cbe5457d5a"
    old = SCOPE.model_dump(mode="json", exclude={"adapters", "distilled", "weights", "architecture"})
    found = Scope.model_validate_json(json.dumps(old))
    assert (found, found.key) == (SCOPE, SCOPE.key)
    assert SCOPE.model_copy(update={"weights": "random"}).key != SCOPE.key


def test_other_additions_are_another_scope() -> None:
    others = [SCOPE.model_copy(update={name: ("0123456789abcdef:1.0",)}) for name in ("adapters", "distilled")]
    assert len({SCOPE.key, *(other.key for other in others)}) == 3
    adapted, distilled = others
    assert not SCOPE.serves(adapted.adapters, ())
    assert not adapted.serves((), ())
    assert adapted.serves(adapted.adapters, distilled.distilled)
    assert not distilled.serves((), ())
    assert SCOPE.serves((), distilled.distilled)
