"""Every single write of the store: the process is killed in its place, or the disk refuses it, and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from autotune.store.backups import copies_of
from autotune.store.repair import damage_of, newest_sound_copy
from autotune.store.store import Store
from autotune.tests.store.samples import recipe, trial
from autotune.tests.store.test_migrations import made_from

from .settings import MORE
from .shim import BROKEN, FULL, Life, Stage
from .stage import FAMILY, TRIALS

SOME = pytest.param(13, id="some")
"""Of the writes, each thirteenth; more of them where there is more time."""
ALL = pytest.param(1, id="all", marks=pytest.mark.slow)
MANY = pytest.param(3 if MORE == 1 else 1, id="many", marks=pytest.mark.slow)


TURNS = range(min(2, MORE))
"""Each write is killed before it or in its middle, and refused for want of space or by a broken disk: in turns."""


def check_kept(path: Path, life: Life) -> None:
    """Check that all that was acknowledged is there, whole, and nothing is there by half."""
    for way in (Store.read, Store.open):
        with way(path) as store:
            found = store.runs()
            assert [*store.damage] == [] or not found  # killed at once, it may leave a file without a byte
            assert bool(found) or not life.numbers("begun")
            for run in found:
                assert run.trials == tuple(trial(number) for number in range(len(run.trials)))
                assert len(run.trials) > max(life.numbers("kept"), default=-1)
                families = {"": [], "interrupted": range(FAMILY), "budget used up": range(1, FAMILY + 1)}
                assert [kept.recipe for kept in store.plans_of(run.id)] == [recipe(n) for n in families[run.reason]]
                ended = max(life.numbers("ended"), default=-1)
                assert list(families).index(run.reason) > ended
                told = store.outcomes(kept.id for kept in store.plans_of(run.id))
                assert len(told) >= len(life.numbers("told"))
    assert all(damage_of(copy) == () for copy in copies_of(path))


def check_whole(path: Path) -> None:
    """Check that everything was done in the end."""
    with Store.read(path) as store:
        (run,) = store.runs()
        assert (run.state, len(run.trials), len(store.plans_of(run.id))) == ("finished", TRIALS, FAMILY)
        assert store.damage == ()


@pytest.mark.parametrize("stride", [SOME, ALL])
def test_killed_at_a_write_nothing_acknowledged_is_lost(stage: Stage, homes: Callable[[], Path], stride: int) -> None:
    for number in count(1, stride):
        for torn in TURNS:
            path = homes()
            by_half = {"CRASH_TORN": 1} if (number + torn) % 2 else {}
            life = stage.play("live", path, CRASH_AT=number, **by_half)
            if life.code == 0:
                break
            assert life.code == -9, (number, life)
            check_kept(path, life)
            assert stage.play("live", path).code == 0
            check_whole(path)
        if life.code == 0:
            break
    assert number > 100  # so many writes there are


@pytest.mark.parametrize("stride", [SOME, MANY])
def test_a_disk_that_refuses_a_write_loses_nothing(stage: Stage, homes: Callable[[], Path], stride: int) -> None:
    refused = 0
    for number in range(3, 200, stride):
        for turn in TURNS:
            path = homes()
            how = (FULL, BROKEN)[(number + turn) % 2]
            life = stage.play("live_on", path, FAIL_AT=number, FAIL_FOR=10_000, FAIL_WITH=how)
            assert life.code == 0, (number, life)
            check_kept(path, life)
            check_whole(path)
            refused += any(words[0] == "refused" for words in life.said)
    assert refused > 100 / stride


@pytest.mark.parametrize("stride", [SOME, MANY])
def test_killed_while_the_tables_are_changed(stage: Stage, homes: Callable[[], Path], stride: int) -> None:
    for number in count(1, stride):
        path = made_from("version-1.sql", homes())
        life = stage.play("look", path, CRASH_AT=number)
        if life.code == 0:
            break
        with Store.read(path) as store:
            assert len(store.runs()) == 2
            assert store.damage == ()
        assert stage.play("look", path).said == [["seen", "2"]]
        assert newest_sound_copy(path)
    assert number > 20


def damaged(path: Path, stage: Stage, seed: int) -> tuple[int, int]:
    """Make a store with a copy, and damage a page of it; return how many trials and plans it had."""
    assert stage.play("live", path).code == 0
    content = bytearray(path.read_bytes())
    at = random.Random(seed).randrange(4096 * 2, len(content) - 4096)
    content[at : at + 4096] = random.Random(seed).randbytes(4096)
    path.write_bytes(content)
    return TRIALS, FAMILY


@pytest.mark.parametrize("act", ["mend", "mend_on"])
@pytest.mark.parametrize("stride", [SOME, MANY])
def test_a_repair_can_be_broken_off_at_every_write(
    stage: Stage, homes: Callable[[], Path], stride: int, act: str
) -> None:
    killed = act == "mend"
    for number in count(1, stride):
        path = homes()
        trials, plans = damaged(path, stage, seed=1)
        faults = {"CRASH_AT": number} if killed else {"FAIL_AT": number, "FAIL_FOR": 10_000, "FAIL_WITH": FULL}
        life = stage.play(act, path, **faults)
        if killed and life.code == 0:
            break
        assert life.code == (-9 if killed else 0), (number, life)
        if killed:
            assert stage.play("mend", path).code == 0
        with Store.read(path) as store:
            assert store.damage == ()
            (run,) = store.runs()
            assert (len(run.trials), len(store.plans_of(run.id))) == (trials, plans)
        if not killed and not any(words[0] == "refused" for words in life.said):
            break
    assert number > 20
