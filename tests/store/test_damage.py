"""A damaged file: no wrong plan or trial is ever returned, and nothing is missing in silence."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest

from autotune.errors import StoreError
from autotune.store.store import Store

from .samples import MACHINE, SCOPE, plan, trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from autotune.probes.machine import Machine
    from autotune.search.plan import Plan
    from autotune.store.run import Run


class Content(NamedTuple):
    """All that a store says."""

    runs: tuple[Run, ...]
    plans: tuple[Plan, ...]
    machine: Machine | None


def content_of(store: Store) -> Content:
    return Content(store.runs(), store.plans("shapes"), store.machine(MACHINE.fingerprint))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a store of two runs with twelve trials each, and plans that were once replaced."""
    path = tmp_path_factory.mktemp("whole") / "autotune.db"
    with Store.open(path) as store:
        for _ in range(2):
            run = store.begin_run(SCOPE, MACHINE, fresh=True)
            for number in range(12):
                store.keep_trial(run.id, trial(number))
            store.finish_run(run.id, "interrupted", [plan(number, run.id) for number in range(6, 12)], finished=False)
            store.finish_run(run.id, "budget used up", [plan(number, run.id) for number in range(5)], finished=True)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, whole: bytes) -> Path:
    path = tmp_path / "autotune.db"
    path.write_bytes(whole)
    return path


def check_no_lie(found: Content, truth: Content) -> None:
    """Check that nothing is in `found` that is not in `truth`."""
    true_runs = {run.id: run for run in truth.runs}
    for run in found.runs:
        true_run = true_runs[run.id]
        assert run.model_copy(update={"trials": ()}) == true_run.model_copy(update={"trials": ()})
        assert set(run.trials) <= set(true_run.trials)
        assert len(set(run.trials)) == len(run.trials)
    assert set(found.plans) <= set(truth.plans)
    assert len(set(found.plans)) == len(found.plans)
    assert found.machine in (None, truth.machine)


@pytest.mark.parametrize("damages", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_damage_never_makes_a_wrong_answer(path: Path, whole: bytes, damages: int) -> None:
    rng = random.Random(damages)
    with Store.read(path) as store:
        truth = content_of(store)
        assert store.damage == ()
    seen = {"nothing": 0, "left out": 0, "refused": 0}
    for _ in range(damages):
        at = rng.randrange(len(whole) - 16)
        path.write_bytes(whole[:at] + rng.randbytes(16) + whole[at + 16 :])
        for way in (Store.read, Store.open):
            try:
                with way(path) as store:
                    found, damage = content_of(store), store.damage
            except StoreError:
                seen["refused"] += 1
                continue
            check_no_lie(found, truth)
            assert found == truth or damage  # nothing is missing in silence
            seen["nothing" if found == truth else "left out"] += 1

    assert min(seen.values()) > damages / 20, seen  # each way out was tried


def change_row(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as other:
        assert other.execute(sql).rowcount == 1
        other.commit()


def test_a_changed_row_is_left_out_and_said(path: Path) -> None:
    with Store.read(path) as store:
        truth = content_of(store)
    change_row(path, "UPDATE plans SET document = replace(document, '2000.0', '9000.0') WHERE kept = 2")
    change_row(path, "UPDATE trials SET recipe_key = 'threads=2000' WHERE kept = 3")
    change_row(path, "UPDATE runs SET document = CAST(x'ff00' AS TEXT) WHERE kept = 2")
    change_row(path, "UPDATE machines SET sha256 = ''")

    with Store.open(path) as store:
        found = content_of(store)
        assert found.machine is None
        assert len(found.plans) == len(truth.plans) - 1
        assert [len(run.trials) for run in found.runs] == [11]
        check_no_lie(found, truth)
        assert store.damage == tuple(
            f"Row {kept} of the {table} in {path} is damaged: it is left out."
            for table, kept in (("machines", 1), ("runs", 2), ("trials", 3), ("plans", 2))
        )


def test_a_trial_that_was_damaged_can_be_kept_again(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=False)
        for number in range(3):
            store.keep_trial(run.id, trial(number))
    change_row(path, "UPDATE trials SET document = '{}' WHERE kept = 2")

    with Store.open(path) as store:
        resumed = store.begin_run(SCOPE, MACHINE, fresh=False)
        assert resumed.trials == (trial(0), trial(2))
        store.keep_trial(run.id, trial(1))
        assert set(store.trials(run.id)) == {trial(0), trial(1), trial(2)}
        assert store.damage == ()


def test_a_run_whose_row_was_damaged_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    with Store.open(path) as store:
        lost = store.begin_run(SCOPE, MACHINE, fresh=False)
    change_row(path, "UPDATE runs SET sha256 = '0'")

    with Store.open(path) as store:
        assert store.begin_run(SCOPE, MACHINE, fresh=False).state == "new"
        with pytest.raises(StoreError, match="or its row is damaged"):
            store.keep_trial(lost.id, trial(0))


def told(path: Path) -> str:
    """Return what one who reads is told of the damage: instead of an answer, or beside it."""
    try:
        with Store.read(path) as store:
            return " ".join(store.damage)
    except StoreError as error:
        return str(error)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_within_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def fill_with_garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


def write_a_letter(path: Path) -> None:
    path.write_text("Dear reader,\n" * 100)


@pytest.mark.parametrize("spoil", [cut, cut_within_the_header, fill_with_garbage, write_a_letter])
def test_what_is_no_database_is_refused_and_left_as_it_is(path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(path)
    spoiled = path.read_bytes()

    with pytest.raises(StoreError, match=r"is damaged \(.+\): run `autotune doctor --repair`\."):
        Store.open(path)
    assert "is damaged" in told(path)
    assert path.read_bytes() == spoiled
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("offset", "content"),
    [
        (60, b"\0\0\0\0"),  # the version of the tables
        (103, b"\0\0"),  # how many tables there are. Source: sqlite.org/fileformat.html, sections 1.3 and 1.6
    ],
)
def test_lost_tables_are_not_taken_for_an_empty_store(path: Path, offset: int, content: bytes) -> None:
    whole = path.read_bytes()
    assert whole[offset : offset + len(content)] != content
    path.write_bytes(whole[:offset] + content + whole[offset + len(content) :])

    with pytest.raises(StoreError, match="is damaged"):
        Store.open(path)
    assert "is damaged" in told(path)


@pytest.mark.parametrize("name", [b"scope_key", b"recipe_key", b"kept INTEGER", b"applied_at"])
def test_damaged_names_of_columns_are_said(path: Path, whole: bytes, name: bytes) -> None:
    path.write_bytes(whole.replace(name, name[:-1] + b"x"))

    for way in (Store.read, Store.open):
        with pytest.raises(StoreError, match=r"is damaged \(.+\): run `autotune doctor"):
            way(path)


def test_a_database_that_has_lost_its_text_is_said(path: Path, whole: bytes) -> None:
    path.write_bytes(whole.replace(b"CREATE TABLE runs", b"CREATE \xe5ABLE runs"))  # SQLite quotes that in its error

    for way in (Store.read, Store.open):
        with pytest.raises(StoreError, match=r"is damaged \(.+\): run `autotune doctor"):
            way(path)


def test_a_file_without_a_byte_is_a_new_store_that_says_so(path: Path) -> None:
    path.write_bytes(b"")

    for way in (Store.read, Store.open):
        with way(path) as store:
            assert content_of(store) == Content((), (), None)
            assert store.damage == (
                f"{path} had not a single byte: it was never finished, or its content is lost; look for a copy of it.",
            )
    with Store.open(path) as store:
        assert store.damage == ()


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    for way in (Store.read, Store.open):
        with pytest.raises(StoreError, match=r"is a folder, where the file of the store should be: move it away"):
            way(tmp_path)


def test_another_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE plans (kept INTEGER PRIMARY KEY)")
    before = path.read_bytes()

    for way in (Store.read, Store.open):
        with pytest.raises(StoreError, match="is an SQLite database, but not a store of autotune"):
            way(path)
    assert path.read_bytes() == before
