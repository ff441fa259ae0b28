"""Killed, out of space, and two at once: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from autotune.errors import StoreError
from autotune.store.store import Store

from .child import FAMILY, start
from .samples import MACHINE, SCOPE, recipe, trial

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import Popen


@pytest.mark.parametrize("kills", [30, pytest.param(100, marks=pytest.mark.slow)])
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, kills: int) -> None:
    rng = random.Random(kills)
    path = tmp_path / "autotune.db"
    with start("fork", path) as forker:
        acknowledged, half_written = -1, 0
        for _ in range(kills):
            acknowledged = max([acknowledged, *killed(forker, rng.uniform(0.0, 0.08))])
            half_written += len(list(tmp_path.iterdir())) > 1  # there is something to undo, or to finish
            check_whole(path, acknowledged)
        assert forker.stdin is not None
        forker.stdin.close()

    assert acknowledged > 3
    assert half_written > kills / 10  # the kills did hit something


def killed(forker: Popen[str], after_s: float) -> list[int]:
    """Start a process that keeps trials, kill it, and return the numbers of those that it has acknowledged."""
    assert forker.stdin is not None
    assert forker.stdout is not None
    print("next", file=forker.stdin, flush=True)
    word, pid = forker.stdout.readline().split()
    assert word == "pid"
    time.sleep(after_s)
    os.kill(int(pid), signal.SIGKILL)
    lines = [line.split() for line in iter(forker.stdout.readline, "gone\n")]
    return [int(number) for word, number in lines if word == "kept"]


def check_whole(path: Path, acknowledged: int) -> None:
    """Check that the store is sound and complete, for one who only reads and for one who writes."""
    for way in (Store.read, Store.open):
        with way(path) as store:
            runs = store.runs()
            assert len(runs) == 1 or acknowledged == -1
            assert store.damage == () or not runs  # the first of all kills may leave a file without a byte
            for run in runs:
                numbers = [kept.number for kept in run.trials]
                assert numbers == list(range(len(numbers)))
                assert len(numbers) > acknowledged
                assert [*run.trials] == [trial(number) for number in numbers]
                plans = store.plans_of(run.id)
                expected = range(int(run.reason), int(run.reason) + FAMILY) if run.reason else ()
                assert [kept.recipe for kept in plans] == [recipe(number) for number in expected]


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    with start("fill", path) as child:
        lines = child.communicate()[0].splitlines()
    assert child.returncode == 0

    *kept, refused, kept_after_all = lines
    number = len(kept)
    assert number > 1
    assert kept == [f"kept {each}" for each in range(number)]
    assert refused.startswith(f"refused {number} {path} could not be written or read (")
    assert "free space" in refused
    assert kept_after_all == f"kept {number}"
    with Store.open(path) as store:
        assert store.runs()[0].trials == tuple(trial(each) for each in range(number + 1))
        assert store.damage == ()


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"  # and both find that it has to be made
    children = [start("keep", path) for _ in range(2)]
    ids = {child.communicate()[0].strip() for child in children}

    assert [child.returncode for child in children] == [0, 0]
    with Store.open(path) as store:
        assert {run.id for run in store.runs()} == ids
        assert all(len(run.trials) == 20 for run in store.runs())
        assert store.damage == ()


def test_a_writer_that_takes_too_long_is_said(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    with Store.open(path, wait_s=0.1) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        run = store.begin_run(SCOPE, MACHINE, fresh=False)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="in use by another process, and waiting did not help"):
            store.keep_trial(run.id, trial(0))
        assert store.trials(run.id) == ()  # reading goes on

        other.execute("COMMIT")
        store.keep_trial(run.id, trial(0))
        assert store.trials(run.id) == (trial(0),)


def test_nobody_can_open_what_is_locked_for_good(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    Store.open(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for way in (Store.read, Store.open):
            with pytest.raises(StoreError, match="in use by another process"):
                way(path, wait_s=0.1)


def test_every_commit_is_synced(tmp_path: Path) -> None:
    with Store.open(tmp_path / "autotune.db") as store:
        assert store._connection is not None
        settings = {
            name: store._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete")
        }

    expected = ("wal", 2) if sqlite3.sqlite_version_info >= (3, 51, 3) else ("delete", 3)
    assert (settings.pop("journal_mode"), settings.pop("synchronous")) == expected
    assert settings == {"foreign_keys": 1, "busy_timeout": 5000, "secure_delete": 1}
