"""A queue whose jobs are done by a process that only plays."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autotune.planner.jobs.journal import Entry, Follower
from autotune.planner.jobs.queue import Queue
from autotune.store.job import Job, Order
from autotune.store.store import Store

WORKER = Path(__file__).with_name("worker.py")
PATIENCE_S = 20.0


@dataclass
class Stage:
    """Where a queue stands; a test may change it while the queue works."""

    folder: Path
    busy: str = ""
    queues: list[Queue] = field(default_factory=list)

    def queue(self) -> Queue:
        """Return a queue that is not open yet."""
        command = (sys.executable, "-P", str(WORKER), str(self.folder))
        queue = Queue(Store.read, Store.open, command, lambda: self.busy, retry_s=0.05)
        self.queues.append(queue)
        return queue

    @contextmanager
    def opened(self) -> Iterator[Queue]:
        """Return a queue that works, until the block ends."""
        queue = self.queue()
        queue.open()
        try:
            yield queue
        finally:
            queue.close()

    def trials(self, run: str) -> list[str]:
        """Return the trials of a run, in the order in which they ended."""
        file = self.folder / f"{run}.txt"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    folder = tmp_path / "trials"
    folder.mkdir()
    return Stage(folder)


def order(model: str = "quick", **more: int | bool) -> Order:
    return Order.model_validate({"model": model, **more})


def until(queue: Queue, job: Job, is_so: Callable[[Job], bool]) -> Job:
    """Return a job as soon as something is so of it."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so(found := queue.job(job.id)):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def over(queue: Queue, job: Job) -> Job:
    return until(queue, job, lambda found: found.is_over)


def entries(queue: Queue, job: Job) -> list[Entry]:
    return Follower(queue.file(job.id)).news()
