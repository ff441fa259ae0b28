from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from autotune.errors import StoreError
from autotune.store.store import Store

from .samples import MACHINE, SCOPE, WORKLOAD, plan, trial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTHER_SCOPE = SCOPE.model_copy(update={"workload": WORKLOAD.model_copy(update={"steps": 4})})


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open() as opened:
        yield opened


def test_the_first_run_is_new(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)

    assert (run.state, run.scope, run.trials, run.reason) == ("new", SCOPE, (), "")
    assert store.runs() == (run.model_copy(update={"state": "unfinished"}),)


def test_an_unfinished_run_is_resumed_with_its_trials(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)
    store.keep_trial(run.id, trial(0))
    store.keep_trial(run.id, trial(1))

    found = store.begin_run(SCOPE, MACHINE, fresh=False)

    assert (found.id, found.state, found.trials) == (run.id, "resumed", (trial(0), trial(1)))


def test_a_run_is_resumed_by_the_next_process(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)
    store.keep_trial(run.id, trial(0))
    store.close()

    with Store.open() as later:
        assert later.begin_run(SCOPE, MACHINE, fresh=False).trials == (trial(0),)


def test_a_run_of_another_scope_is_not_resumed(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)

    assert store.begin_run(OTHER_SCOPE, MACHINE, fresh=False).id != run.id


def test_a_fresh_run_is_new_and_is_the_one_that_is_resumed(store: Store) -> None:
    first = store.begin_run(SCOPE, MACHINE, fresh=False)
    fresh = store.begin_run(SCOPE, MACHINE, fresh=True)
    resumed = store.begin_run(SCOPE, MACHINE, fresh=False)

    assert fresh.state == "new"
    assert fresh.id != first.id
    assert (resumed.id, resumed.state) == (fresh.id, "resumed")
    assert [run.id for run in store.runs()] == [fresh.id, first.id]


def test_a_finished_run_is_returned_as_finished(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)
    store.keep_trial(run.id, trial(0))
    store.finish_run(run.id, "budget used up", [plan(0, run.id)], finished=True)

    found = store.begin_run(SCOPE, MACHINE, fresh=False)

    assert (found.id, found.state, found.reason, found.trials) == (run.id, "finished", "budget used up", (trial(0),))
    assert found.ended_at >= found.started_at
    assert store.begin_run(SCOPE, MACHINE, fresh=True).state == "new"


def test_an_older_unfinished_run_does_not_come_back_after_a_finished_one(store: Store) -> None:
    store.begin_run(SCOPE, MACHINE, fresh=False)
    fresh = store.begin_run(SCOPE, MACHINE, fresh=True)
    store.finish_run(fresh.id, "budget used up", [], finished=True)

    assert store.begin_run(SCOPE, MACHINE, fresh=False).id == fresh.id


def test_an_interrupted_run_has_provisional_plans_and_is_resumed(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)
    store.finish_run(run.id, "interrupted", [plan(1, run.id)], finished=False)

    assert store.plans("shapes") == store.plans_of(run.id) == (plan(1, run.id),)
    assert store.plans("shapes", provisional=False) == ()
    found = store.begin_run(SCOPE, MACHINE, fresh=False)
    assert (found.id, found.state, found.reason) == (run.id, "resumed", "interrupted")

    store.finish_run(run.id, "budget used up", [plan(2, run.id), plan(1, run.id)], finished=True)

    assert store.plans("shapes", provisional=False) == (plan(2, run.id), plan(1, run.id))


def test_trials_come_in_the_order_in_which_they_were_kept(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)
    kept = tuple(trial(number) for number in (3, 1, 2))
    for each in kept:
        store.keep_trial(run.id, each)

    assert store.trials(run.id) == kept
    assert store.trials("unknown") == ()


def test_a_recipe_is_kept_once_a_run(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)
    store.keep_trial(run.id, trial(1))

    with pytest.raises(StoreError, match=f"The run {run.id} has a trial of `threads=1` already"):
        store.keep_trial(run.id, trial(1).model_copy(update={"number": 2}))

    assert store.trials(run.id) == (trial(1),)
    other = store.begin_run(SCOPE, MACHINE, fresh=True)
    store.keep_trial(other.id, trial(1))


def test_nothing_is_added_to_an_unknown_run(store: Store) -> None:
    with pytest.raises(StoreError, match="There is no run nowhere in"):
        store.keep_trial("nowhere", trial(1))
    with pytest.raises(StoreError, match="There is no run nowhere in"):
        store.finish_run("nowhere", "", [], finished=True)


def test_nothing_is_added_to_a_finished_run(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)
    store.finish_run(run.id, "budget used up", [plan(1, run.id)], finished=True)

    with pytest.raises(StoreError, match="is finished, and nothing can be added"):
        store.keep_trial(run.id, trial(1))
    with pytest.raises(StoreError, match="is finished, and nothing can be added"):
        store.finish_run(run.id, "again", [], finished=True)
    assert store.plans("shapes") == (plan(1, run.id),)


def test_a_run_ends_with_all_of_its_plans_or_not_at_all(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)
    store.finish_run(run.id, "interrupted", [plan(1, run.id)], finished=False)

    for wrong in (plan(2, "another run"), plan(2, run.id, OTHER_SCOPE), plan(3, run.id)):
        with pytest.raises(StoreError, match=r"another run or scope|name a recipe twice"):
            store.finish_run(run.id, "budget used up", [plan(3, run.id), wrong], finished=True)

    assert store.plans("shapes") == (plan(1, run.id),)
    assert store.runs()[0].reason == "interrupted"
    assert store.begin_run(SCOPE, MACHINE, fresh=False).state == "resumed"


def test_a_failure_after_the_plans_were_replaced_undoes_that(store: Store) -> None:
    run = store.begin_run(SCOPE, MACHINE, fresh=False)
    store.finish_run(run.id, "interrupted", [plan(1, run.id)], finished=False)
    assert store._db is not None
    at_the_second = "WHEN (SELECT count(*) FROM plans) = 1 BEGIN SELECT RAISE(ABORT, 'no'); END"
    store._db.execute(f"CREATE TEMP TRIGGER t BEFORE INSERT ON plans {at_the_second}")

    with pytest.raises(StoreError, match="no"):
        store.finish_run(run.id, "budget used up", [plan(2, run.id), plan(3, run.id)], finished=True)

    assert store.plans("shapes") == (plan(1, run.id),)
    assert store.runs()[0].state == "unfinished"


def test_a_run_is_begun_only_on_the_machine_of_its_scope(store: Store) -> None:
    scope = SCOPE.model_copy(update={"machine": "another"})

    with pytest.raises(StoreError, match="machine another cannot be begun on the machine"):
        store.begin_run(scope, MACHINE, fresh=False)

    assert store.runs() == ()
    assert store.machine(MACHINE.fingerprint) is None


def test_a_machine_is_kept_as_it_was_seen_last(store: Store) -> None:
    memory = MACHINE.memory.model_copy(update={"free_bytes": 1})
    later = MACHINE.model_copy(update={"memory": memory})
    assert later.fingerprint == MACHINE.fingerprint

    store.begin_run(SCOPE, MACHINE, fresh=False)
    assert store.machine(MACHINE.fingerprint) == MACHINE
    store.begin_run(SCOPE, later, fresh=False)

    assert store.machine(MACHINE.fingerprint) == later
    assert store.machine("another") is None


def ended_run(store: Store, **changed: object) -> str:
    """Begin and finish a run of a changed scope with two plans; return its id."""
    scope = SCOPE.model_copy(update=changed)
    run = store.begin_run(scope, MACHINE, fresh=True)
    store.finish_run(run.id, "", [plan(2, run.id, scope), plan(1, run.id, scope)], finished=True)
    return run.id


def test_plans_are_filtered_by_what_is_asked(store: Store) -> None:
    first = ended_run(store)
    newer_software = ended_run(store, software="newer")
    other_workload = ended_run(store, workload=OTHER_SCOPE.workload)
    ended_run(store, model="another")

    def runs_of(**asked: object) -> list[str]:
        return [found.run for found in store.plans("shapes", **asked)]  # type: ignore[arg-type]

    def twice(*ids: str) -> list[str]:
        return [name for name in ids for _ in range(2)]

    assert runs_of() == twice(other_workload, newer_software, first)
    assert runs_of(software="newer") == twice(newer_software)
    assert runs_of(workload=WORKLOAD) == twice(newer_software, first)
    assert runs_of(workload=WORKLOAD, software=SCOPE.software) == twice(first)
    assert runs_of(machine=MACHINE.fingerprint) == runs_of()
    assert runs_of(machine="another") == []
    assert store.plans("unheard of") == ()


def test_the_run_that_was_ended_last_comes_first_and_its_plans_in_their_order(store: Store) -> None:
    older = store.begin_run(SCOPE, MACHINE, fresh=False)
    newer = store.begin_run(SCOPE, MACHINE, fresh=True)
    store.finish_run(older.id, "interrupted", [plan(1, older.id)], finished=False)
    store.finish_run(newer.id, "budget used up", [plan(3, newer.id), plan(2, newer.id)], finished=True)
    newest_first = [plan(3, newer.id), plan(2, newer.id), plan(1, older.id)]
    assert [*store.plans("shapes")] == newest_first

    store.finish_run(older.id, "budget used up", [plan(5, older.id), plan(4, older.id)], finished=True)

    assert [*store.plans("shapes")] == [plan(5, older.id), plan(4, older.id), plan(3, newer.id), plan(2, newer.id)]
    assert [run.id for run in store.runs("shapes")] == [newer.id, older.id]
    assert store.runs("another") == ()


def test_text_that_looks_like_sql_is_only_text(store: Store) -> None:
    nasty = "x' OR '1'='1"
    ended_run(store)
    ended_run(store, model=nasty)

    assert {found.scope.model for found in store.plans(nasty)} == {nasty}
    assert [run.scope.model for run in store.runs(nasty)] == [nasty]
    assert store.trials(nasty) == ()
    assert store.machine(nasty) is None


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "some" / "where.db")
    store.close()
    store.close()

    with pytest.raises(StoreError, match="is closed, or open for reading only"):
        store.begin_run(SCOPE, MACHINE, fresh=False)
    with pytest.raises(sqlite3.ProgrammingError):  # a mistake in our code, not one of the file's
        store.runs()


def test_a_run_goes_on_in_another_store_and_is_kept_in_both(tmp_path: Path) -> None:
    with Store.open(tmp_path / "one.db") as one, Store.open(tmp_path / "other.db") as other:
        run = one.begin_run(SCOPE, MACHINE, fresh=False)
        one.keep_trial(run.id, trial(0))
        one.keep_trial(run.id, trial(1))
        for _ in range(2):  # what is here stays as it is
            other.adopt_run(one.run(run.id), MACHINE)
        again = other.begin_run(SCOPE, MACHINE, fresh=False)
        assert (again.id, again.state, again.trials) == (run.id, "resumed", (trial(0), trial(1)))
        other.keep_trial(run.id, trial(2))
        other.finish_run(run.id, "budget used up", [plan(2, run.id)], finished=True)
        one.adopt_run(other.run(run.id), MACHINE)
        assert one.trials(run.id) == (trial(0), trial(1), trial(2))
        assert one.run(run.id).state == "unfinished", "that it is finished is for whoever hears of its plans"
        with pytest.raises(StoreError, match="There is no run nobody"):
            one.run("nobody")
