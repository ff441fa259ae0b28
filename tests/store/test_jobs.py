"""Jobs are kept as they stand, and those that are over are forgotten in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autotune.store.job import Job, Order, State
from autotune.store.store import JOBS_KEPT, Store

if TYPE_CHECKING:
    from pathlib import Path


def job(name: str, state: State = "waiting") -> Job:
    return Job(id=name, key="0" * 16, order=Order(model="shapes"), state=state, created_at="2026-01-01T12:00:00+00:00")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "autotune.db"


def test_a_job_is_kept_in_its_place(path: Path) -> None:
    with Store.open(path) as store:
        for name in ("first", "second"):
            store.keep_job(job(name))
        store.keep_job(job("first", "paused"))

    with Store.read(path) as store:
        assert store.jobs() == (job("first", "paused"), job("second"))
        assert store.damage == ()


def test_the_oldest_that_are_over_are_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.store.store.JOBS_KEPT", 2)
    with Store.open(path) as store:
        for number in range(5):
            store.keep_job(job(f"over-{number}", "done"))
            store.keep_job(job(f"open-{number}"))

        over = [each.id for each in store.jobs() if each.is_over]
        assert over == ["over-3", "over-4"]
        assert len(store.jobs()) == 7
    assert JOBS_KEPT > 2
