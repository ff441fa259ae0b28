"""A real, small tuning under a real daemon that is killed in the middle of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from autotune.planner.daemon.state import read_state
from autotune.planner.jobs.idle import tree_of
from autotune.planner.jobs.journal import Entry, Follower
from autotune.planner.jobs.queue import Queue
from autotune.store.job import Job, Order
from autotune.store.store import Store

if TYPE_CHECKING:
    from autotune.search.measured import Trial

SERVE = "from autotune.planner.daemon.serve import serve; serve(port=0)"
PATIENCE_S = 400.0
TRIALS = 3


@contextmanager
def daemon() -> Iterator[subprocess.Popen[bytes]]:
    """A daemon of this user, which is killed in the end."""
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline().startswith(b"autotune listens")
        yield process
    finally:
        process.kill()
        process.communicate()


def until(is_so: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kept() -> Job:
    with Store.read() as store:
        return store.jobs()[0]


def trials(run: str) -> tuple[Trial, ...]:
    with Store.read() as store:
        return store.trials(run)


def happened(job: Job) -> list[Entry]:
    return Follower(Queue(Store.read, Store.open).file(job.id)).news()


def tries(job: Job, event: str) -> int:
    return [entry["event"] for entry in happened(job)].count(event)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@pytest.mark.slow
def test_a_job_goes_on_where_it_was_when_its_daemon_was_killed() -> None:
    order = Order(model="shapes", weights="random", width=64, height=64, steps=2, budget_s=900, most_trials=TRIALS)
    job = Queue(Store.read, Store.open).add(order)
    for before in (1, 2):  # in the middle of the second trial, and of the third
        with daemon() as process:
            until(lambda: tries(job, "trial_end") >= before)  # noqa: B023 - asked at once
            until(lambda: happened(job)[-1]["event"] == "trial_start")
            family = tree_of(kept().pid)
            assert len(family) > 1, "the trial is a process of its own"
            ended = trials(kept().run)
            os.kill(process.pid, signal.SIGKILL)
            until(lambda: not any(map(lives, family)), 20)  # noqa: B023
            assert trials(kept().run)[: len(ended)] == ended
    with daemon():
        until(lambda: kept().is_over)
    done = kept()
    assert (done.state, read_state()) == ("done", None)
    recipes = [trial.recipe.key for trial in trials(done.run)]
    assert len(recipes) == len(set(recipes)) == TRIALS
    with Store.read() as store:
        assert [run.id for run in store.runs()] == [done.run]
    tried = [json.dumps(entry["trial"]["recipe"]) for entry in happened(done) if entry["event"] == "trial_end"]
    assert len(tried) == len(set(tried)) == TRIALS
