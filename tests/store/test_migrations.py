"""A store of each released version can be opened, and a change of the tables happens wholly or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlite_utils import Database, Migrations

from autotune.errors import StoreError
from autotune.store.backups import BACKUPS_KEPT
from autotune.store.checks import SCHEMA_VERSION, schema_version
from autotune.store.connection import connect_to_write
from autotune.store.migrations import MIGRATIONS, bring_up_to_date, version_1, version_2, version_3
from autotune.store.store import Store

from .samples import MACHINE, SCOPE, plan, trial

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parent / "fixtures"


def made_from(name: str, path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((FIXTURES / name).read_text())
    return path


def tables_of(path: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return {tuple(row) for row in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")}


@pytest.mark.parametrize("file", [f"version-{n + 1}.sql" for n in range(SCHEMA_VERSION)])
@pytest.mark.parametrize("way", [Store.read, Store.open])
def test_a_store_of_each_version_can_be_opened(tmp_path: Path, file: str, way: Callable[[Path], Store]) -> None:
    with way(made_from(file, tmp_path / "autotune.db")) as store:
        assert store.damage == ()
        interrupted, finished = store.runs("shapes")
        assert (interrupted.state, interrupted.reason) == ("unfinished", "interrupted")
        assert (finished.state, finished.reason) == ("finished", "budget used up")
        assert [kept.outcome for kept in finished.trials] == ["ok", "out_of_memory", "ok"]
        assert finished.trials[1].detail == "The process was killed at 7.5 GiB."
        assert finished.trials[2].latency is not None
        assert finished.trials[2].latency.samples_ms == (1002.0, 1003.5)
        assert finished.trials[2].quality is not None
        assert finished.trials[2].quality.bound == -0.125

        provisional, best = store.plans("shapes")
        assert (provisional.run, best.run) == (interrupted.id, finished.id)
        assert best.recipe.turned == {"threads": 2}
        assert (best.speedup_low, best.speedup, best.speedup_high) == (1.9, 2.0, 2.1)
        assert best.gains[0].slowdown_without == 1.5
        assert best.scope == finished.scope
        assert store.plans("shapes", provisional=False) == (best,)

        machine = store.machine(best.scope.machine)
        assert machine is not None
        assert machine.software.versions["torch"] == "2.13.0"


@pytest.mark.parametrize("way", [Store.read, Store.open])
def test_what_apps_said_of_plans_is_there_from_version_2_on(tmp_path: Path, way: Callable[[Path], Store]) -> None:
    for version, said in ((1, []), (2, ["ok", "out_of_memory"]), (3, ["ok", "out_of_memory"])):
        with way(made_from(f"version-{version}.sql", tmp_path / f"{version}.db")) as store:
            (plan_id,) = {plan.id for plan in store.plans("shapes", provisional=False)}
            assert [outcome.outcome for outcome in store.outcomes([plan_id, "another"])] == said
            assert store.outcomes(["another"]) == ()
            assert store.damage == ()


@pytest.mark.parametrize("way", [Store.read, Store.open])
def test_jobs_are_there_from_version_3_on(tmp_path: Path, way: Callable[[Path], Store]) -> None:
    for version, states in ((2, []), (3, ["paused"])):
        with way(made_from(f"version-{version}.sql", tmp_path / f"{version}.db")) as store:
            assert [job.state for job in store.jobs()] == states


def test_a_store_of_version_1_can_be_written_to(tmp_path: Path) -> None:
    path = made_from("version-1.sql", tmp_path / "autotune.db")
    with Store.open(path) as store:
        unfinished = store.runs()[0]
        store.keep_trial(unfinished.id, trial(9))
        assert store.trials(unfinished.id)[-1] == trial(9)


def test_an_old_store_gets_the_tables_of_a_new_one(tmp_path: Path) -> None:
    old = made_from("version-1.sql", tmp_path / "old.db")
    for path in (old, tmp_path / "new.db"):
        Store.open(path).close()

    assert tables_of(old) == tables_of(tmp_path / "new.db")


def test_there_is_a_fixture_of_each_version() -> None:
    assert len(MIGRATIONS.pending(Database(memory=True))) == SCHEMA_VERSION
    assert {file.name for file in FIXTURES.glob("*.sql")} == {f"version-{n + 1}.sql" for n in range(SCHEMA_VERSION)}


def test_a_new_store_is_of_the_newest_version(tmp_path: Path) -> None:
    with Store.open(tmp_path / "autotune.db") as store:
        assert store._connection is not None
        assert schema_version(store._connection) == SCHEMA_VERSION
    assert list(tmp_path.iterdir()) == [tmp_path / "autotune.db"]  # and there was nothing to back up


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path, journal_mode: str) -> None:
    path = made_from("version-1.sql", tmp_path / "autotune.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
    before = path.read_bytes()

    for way in (Store.read, Store.open):
        with pytest.raises(StoreError, match=r"was written by a newer autotune .* and was left as it is: upgrade"):
            way(path)

    assert path.read_bytes() == before
    assert not (tmp_path / "backups").exists()


def next_version(change: Callable[[Database], None]) -> Migrations:
    """Return the changes up to a version that does not exist yet."""
    migrations = Migrations("autotune")
    migrations()(version_1)
    migrations()(version_2)
    migrations()(version_3)
    migrations(name="version_4")(change)
    return migrations


def add_a_column(db: Database) -> None:
    db.table("plans").add_column("note", str)
    db.execute("UPDATE plans SET note = 'old'")
    db.execute("PRAGMA user_version = 4")


def add_a_column_and_fail(db: Database) -> None:
    add_a_column(db)
    db.execute("INSERT INTO nowhere VALUES (1)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a store with a plan."""
    path = tmp_path / "autotune.db"
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=False)
        store.finish_run(run.id, "interrupted", [plan(1, run.id)], finished=False)
    return path


def migrate(path: Path, migrations: Migrations) -> None:
    with closing(connect_to_write(path, wait_s=1)) as connection:
        bring_up_to_date(Database(connection), path, migrations)


def test_before_the_tables_are_changed_the_store_is_copied(path: Path) -> None:
    with Store.read(path) as store:
        before = store.runs(), store.plans("shapes")

    migrate(path, next_version(add_a_column))

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT note FROM plans").fetchall() == [("old",)]
        assert schema_version(connection) == 4
    backups = path.parent / "backups"
    assert backups.stat().st_mode & 0o777 == 0o700
    (copy,) = backups.iterdir()
    assert copy.name.endswith("-v3.db")
    assert copy.stat().st_mode & 0o777 == 0o600
    with Store.open(copy) as store:
        assert (store.runs(), store.plans("shapes")) == before
        assert store.damage == ()


def test_a_change_that_fails_leaves_the_store_as_it_was(path: Path) -> None:
    tables = tables_of(path)

    with pytest.raises(StoreError, match="no such table: nowhere"):
        migrate(path, next_version(add_a_column_and_fail))

    assert tables_of(path) == tables
    with Store.open(path) as store:
        assert len(store.plans("shapes")) == 1


def test_the_first_change_too_happens_wholly_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"

    with pytest.raises(StoreError, match="no such table: nowhere"):
        migrate(path, next_version(add_a_column_and_fail))

    assert tables_of(path) == set()


def test_without_room_for_the_copy_nothing_is_changed(path: Path) -> None:
    (path.parent / "backups").write_text("in the way")
    tables = tables_of(path)

    with pytest.raises(StoreError, match="backups cannot be a folder, because a file is in its way"):
        migrate(path, next_version(add_a_column))

    assert tables_of(path) == tables


def test_only_the_newest_copies_are_kept(path: Path) -> None:
    backups = path.parent / "backups"
    backups.mkdir()
    # the clock stood in the year 2099, and goes right again
    old = [backups / f"autotune-{number:06d}-20991231T000000Z-v1.db" for number in range(1, 8)]
    for file in old:
        file.touch()
    other = backups / "notes.txt"
    other.touch()

    migrate(path, next_version(add_a_column))

    kept = sorted(backups.glob("*.db"))
    assert len(kept) == BACKUPS_KEPT
    assert kept[:-1] == old[-(BACKUPS_KEPT - 1) :]
    assert kept[-1].name.startswith("autotune-000008-")
    assert other.exists()


def test_what_is_up_to_date_is_not_copied(path: Path) -> None:
    Store.open(path).close()

    assert list(path.parent.iterdir()) == [path]
