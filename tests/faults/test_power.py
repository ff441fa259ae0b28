"""The power is cut: what was acknowledged is there when it comes back, and the store is whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.store.store import Store
from autotune.tests.store.samples import trial

from .power import Disk, Write, cuts, writes_in
from .settings import MORE
from .shim import Stage

CUTS = 100 * MORE


def acknowledged(writes: list[Write]) -> dict[str, int]:
    """Return how often each word was acknowledged: the stage notes it in a file of its own."""
    words = [write.data.decode().split()[0] for write in writes if write.path.endswith("/said") and write.data]
    return {word: words.count(word) for word in ("begun", "kept", "ended")}


def test_whatever_moment_the_power_is_cut(stage: Stage, homes: Callable[[], Path], tmp_path: Path) -> None:
    path, record = homes(), tmp_path / "record"
    assert stage.play("live_noted", path, WRITES=record).code == 0
    writes = list(writes_in(record))
    assert len(writes) > 200
    unlike = set()
    for number, (moment, files) in enumerate(cuts(writes, CUTS, random.Random(1))):
        home = homes().parent
        for name, content in files.items():
            place = home / Path(name).relative_to(path.parent)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
        unlike.add(frozenset(files.items()))
        promised = acknowledged(writes[:moment])
        for way in (Store.read, Store.open):
            with way(home / path.name) as store:
                runs = store.runs()
                assert len(runs) >= min(1, promised["begun"]), (number, moment)
                assert store.damage == () or not runs
                for run in runs:
                    assert run.trials == tuple(trial(place) for place in range(len(run.trials)))
                    assert len(run.trials) >= promised["kept"]
                    assert ("", "interrupted", "budget used up").index(run.reason) >= promised["ended"]
                    assert len(store.plans_of(run.id)) == (3 if run.reason else 0)
    assert len(unlike) > CUTS * 0.7


@pytest.mark.parametrize("synced", [False, True])
def test_the_disk_itself_forgets_what_was_not_synced(*, synced: bool) -> None:
    disk = Disk()
    for write in (Write("make", "/f/a", 0, b""), Write("write", "/f/a", 0, b"x" * 1024)):
        disk.apply(write)
    if synced:
        disk.apply(Write("sync", "/f/a", 0, b""))
        disk.apply(Write("sync", "/f", 0, b""))
    seen = {tuple(disk.after_a_cut(random.Random(seed)).items()) for seed in range(50)}
    whole = (("/f/a", b"x" * 1024),)
    assert (seen == {whole}) is synced
    assert whole in seen
    assert synced or {(), (("/f/a", b""),), (("/f/a", b"x" * 512),)} <= seen
