"""A damaged store is brought back: all that is sound in it or in its newest copy, and what is lost is said."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from autotune.errors import StoreError
from autotune.store.backups import BACKUPS_KEPT, copies_of
from autotune.store.outcome import Outcome
from autotune.store.repair import damage_of, newest_sound_copy, repair
from autotune.store.store import Store

from .samples import MACHINE, SCOPE, plan, trial


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a store with a finished run, whose copy was taken, and then an unfinished one with a plan."""
    path = tmp_path / "autotune.db"
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=False)
        for number in range(6):
            store.keep_trial(run.id, trial(number))
        store.finish_run(run.id, "budget used up", [plan(number, run.id) for number in range(1, 4)], finished=True)
        later = store.begin_run(SCOPE, MACHINE, fresh=True)
        for number in range(3):
            store.keep_trial(later.id, trial(number))
        store.finish_run(later.id, "interrupted", [plan(2, later.id)], finished=False)
    return path


def content_of(path: Path) -> tuple[object, ...]:
    with Store.read(path) as store:
        assert store.damage == ()
        return store.runs(), store.plans("shapes"), store.machine(MACHINE.fingerprint)


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute(sql)
        other.commit()


def asides(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.corrupt-*"))


def test_what_is_sound_is_left_alone(path: Path) -> None:
    before = path.read_bytes()
    assert repair(path) is None
    assert path.read_bytes() == before
    assert repair(path.with_name("nothing.db")) is None


def test_damaged_rows_come_back_from_the_copy(path: Path) -> None:
    before = content_of(path)
    for table in ("runs", "trials", "plans", "machines"):
        change(path, f"UPDATE {table} SET document = replace(document, 'a', 'b') WHERE kept = 1")  # noqa: S608
    spoiled = path.read_bytes()

    done = repair(path)

    assert done
    assert content_of(path) == before
    assert done.put_back == {"machines": 1, "runs": 1, "trials": 1, "plans": 1}
    assert done.lost == ()
    (aside,) = asides(path)
    assert (str(aside), aside.read_bytes()) == (done.set_aside, spoiled)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Path(done.copy_used) == newest_sound_copy(path)


def test_what_no_copy_has_is_lost_and_said(path: Path) -> None:
    change(path, "UPDATE trials SET document = '{}' WHERE kept > 6")

    done = repair(path)

    assert done
    assert done.lost == ("3 of the trials are lost: their rows were damaged, and no copy has them.",)
    with Store.read(path) as store:
        assert [len(run.trials) for run in store.runs()] == [0, 6]
        assert len(store.plans("shapes")) == 4


def test_plans_that_were_replaced_do_not_come_back(path: Path) -> None:
    with Store.open(path) as store:
        unfinished = store.runs()[0]
        scope = SCOPE.model_copy(update={"tolerance": 0.5})
        other = store.begin_run(scope, MACHINE, fresh=True)
        store.finish_run(other.id, "done", [plan(1, other.id, scope)], finished=True)  # a copy with plan 2 of the first
        store.finish_run(unfinished.id, "interrupted", [plan(1, unfinished.id)], finished=False)
    change(path, "UPDATE machines SET sha256 = ''")

    assert repair(path)

    with Store.read(path) as store:
        assert store.plans_of(unfinished.id) == (plan(1, unfinished.id),)


def test_a_run_that_is_in_no_copy_is_known_from_its_plans(path: Path) -> None:
    for copy in copies_of(path):
        copy.unlink()
    before = content_of(path)
    change(path, "UPDATE runs SET sha256 = ''")

    done = repair(path)

    assert done
    assert done.lost == ("2 of the runs are lost: their rows were damaged, and no copy has them.",)
    with Store.read(path) as store:
        assert store.plans("shapes") == before[1]
        assert [(run.state, len(run.trials)) for run in store.runs()] == [("unfinished", 3), ("finished", 6)]


@pytest.mark.parametrize("spoil", ["cut", "empty", "garbage", "missing", "header"])
def test_what_cannot_be_read_at_all_comes_from_the_copy(path: Path, spoil: str) -> None:
    whole = path.read_bytes()
    with Store.read(path) as store:
        finished = store.runs()[1]
    contents = {"cut": whole[:500], "empty": b"", "garbage": b"\x5a" * 9000, "header": b"\0" * 100 + whole[100:]}
    if spoil == "missing":
        path.unlink()
    else:
        path.write_bytes(contents[spoil])

    done = repair(path)

    assert done
    assert bool(done.set_aside) is (spoil != "missing")
    with Store.open(path) as store:
        assert store.runs() == (finished,)
        assert len(store.plans("shapes")) == 3
        assert store.damage == ()
    (lost,) = done.lost
    assert "what was written after the copy autotune-000001-" in lost


def test_without_a_copy_there_is_nothing_left_but_the_file_is_kept(path: Path) -> None:
    for copy in copies_of(path):
        copy.unlink()
    path.write_bytes(b"\x5a" * 9000)

    done = repair(path)

    assert done
    assert not path.exists()
    assert asides(path)[0].read_bytes() == b"\x5a" * 9000
    assert "as there is no sound copy" in done.lost[0]


def test_a_damaged_copy_is_passed_over(path: Path) -> None:
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=True)
        store.finish_run(run.id, "done", [plan(1, run.id)], finished=True)
    newest, older = copies_of(path)
    newest.write_bytes(newest.read_bytes()[:5000])
    path.write_bytes(b"")

    done = repair(path)

    assert done
    assert Path(done.copy_used) == older


@pytest.mark.parametrize("damages", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_random_damage_of_what_was_copied_loses_nothing(path: Path, damages: int) -> None:
    with Store.open(path) as store:
        store.finish_run(store.runs()[0].id, "done", [plan(1, store.runs()[0].id)], finished=True)
    truth, whole, rng = content_of(path), path.read_bytes(), random.Random(damages)
    repaired = 0
    for _ in range(damages):
        at, length = rng.randrange(len(whole)), rng.choice((1, 16, 4096))
        path.write_bytes(whole[:at] + rng.randbytes(length) + whole[at + length :])
        try:
            repaired += repair(path) is not None
        except StoreError as error:
            assert "newer autotune" in str(error) or "not a store of autotune" in str(error)  # noqa: PT017
            continue
        assert content_of(path) == truth
        for aside in asides(path):
            aside.unlink()
    assert repaired > damages / 8


@pytest.mark.parametrize("sql", ["PRAGMA user_version = 99", "PRAGMA application_id = 7"])
def test_what_is_not_ours_is_refused_and_left_as_it_is(path: Path, sql: str) -> None:
    change(path, sql)
    before = path.read_bytes()

    with pytest.raises(StoreError, match=r"newer autotune|not a store of autotune"):
        repair(path)

    assert path.read_bytes() == before
    assert not asides(path)


def test_a_store_in_use_is_refused(path: Path) -> None:
    change(path, "UPDATE plans SET sha256 = '' WHERE kept = 1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="in use by another process"):
            repair(path, wait_s=0.1)
    assert repair(path)


def test_who_waited_for_a_repair_does_not_write_into_what_was_set_aside(path: Path) -> None:
    with Store.open(path) as waiting:
        waiting.runs()
        change(path, "UPDATE plans SET sha256 = '' WHERE kept = 1")
        assert repair(path)
        outcome = Outcome(id="1", plan_id="1", outcome="ok", reported_at="2026-01-01T12:00:00+00:00")
        with pytest.raises(StoreError):
            waiting.keep_outcome(outcome)


def test_copies_are_taken_of_what_is_finished_and_sound(path: Path) -> None:
    assert len(copies_of(path)) == 1
    change(path, "UPDATE plans SET sha256 = '' WHERE kept = 1")
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=True)
        store.finish_run(run.id, "done", [], finished=True)
    assert len(copies_of(path)) == 1  # the older one is worth more
    repair(path)
    with Store.open(path) as store:
        for _ in range(BACKUPS_KEPT + 2):
            run = store.begin_run(SCOPE, MACHINE, fresh=True)
            store.finish_run(run.id, "done", [], finished=True)
    assert len(copies_of(path)) == BACKUPS_KEPT
    assert all(damage_of(copy) == () for copy in copies_of(path))
    assert all(copy.stat().st_mode & 0o777 == 0o600 for copy in copies_of(path))


def test_a_copy_that_cannot_be_made_takes_nothing_back(path: Path) -> None:
    for copy in copies_of(path):
        copy.unlink()
    (path.parent / "backups").rmdir()
    (path.parent / "backups").write_text("in the way")
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=True)
        store.finish_run(run.id, "done", [plan(1, run.id)], finished=True)
        assert store.runs()[0].state == "finished"
