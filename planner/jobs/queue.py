"""The queue of jobs: one at a time, as two would spoil each other's timings. What it knows outlives the daemon."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import BusyError, StoreError, UsageError
from ...store.job import Command, Job, Order
from ...store.places import state_dir
from ...store.run import new_id, now
from ...value import key_of
from .idle import busy_because, tree_of
from .journal import Entry, Follower, Journal
from .process import WORK, Working, end_left
from .sitting import LOST, at_rest, ended, heard, sitting_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ...store.store import Store

log = logging.getLogger("autotune")

MOST_OPEN = 16
"""So many jobs may wait, run or pause at a time."""
RETRY_S = 10.0
"""How long a job waits that could not run because of others, before it is tried again."""


class UnknownJobError(UsageError):
    """There is no job of that id."""


class JobOverError(UsageError):
    """The job is over, and nothing can be done with it any more."""


class Queue:
    """All jobs, and a thread that does one after the other while the queue is open."""

    def __init__(
        self,
        read_store: Callable[[], Store],
        open_store: Callable[[], Store],
        command: Sequence[str] = WORK,
        busy: Callable[[], str] = lambda: busy_because(tree_of(os.getpid())),
        retry_s: float = RETRY_S,
    ) -> None:
        """Take what opens the store, what does a job, and what says who else uses the machine."""
        self._read_store, self._open_store = read_store, open_store
        self._command, self._busy, self._retry_s = command, busy, retry_s
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._has_news = False
        self._jobs: dict[str, Job] = {}
        self._is_read = False
        self._journals: dict[str, Journal] = {}
        self._not_before_s: dict[str, float] = {}
        self._working: Working | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self.problem = ""

    def open(self) -> None:
        """Begin to do jobs: first what a daemon before this one has left."""
        self._thread.start()

    def close(self) -> None:
        """End what runs, so that the next daemon goes on with it."""
        with self._lock:
            self._closing = True
            self._news.notify_all()
            if self._working:
                self._working.kill()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, order: Order) -> Job:
        """Return the job for an order: the one that waits or runs for the same order already, or a new one.

        Raises BusyError where there are too many, and StoreError where it cannot be kept.
        """
        key = key_of(order.model_dump(mode="json", exclude={"idle_only"}))
        with self._lock:
            still = [job for job in self.jobs() if not job.is_over]
            if same := next((job for job in still if job.key == key), None):
                return same
            if len(still) >= MOST_OPEN:
                msg = f"{MOST_OPEN} jobs wait already: cancel one, or ask again when one is over."
                raise BusyError(msg)
            job = Job(id=new_id(), key=key, order=order, created_at=now())
            self._keep(job)
            self._take(job)
            return job

    def jobs(self) -> tuple[Job, ...]:
        """Return all jobs, in the order in which they were asked for. Raises StoreError."""
        with self._lock:
            if not self._is_read:
                with self._read_store() as store:
                    self._jobs = {job.id: job for job in store.jobs()}
                self._is_read = True
            return tuple(self._jobs.values())

    def job(self, job_id: str) -> Job:
        """Return a job. Raises UnknownJobError, and StoreError."""
        found = next((job for job in self.jobs() if job.id == job_id), None)
        if found is None:
            msg = f"There is no job {job_id} here: GET /v1/jobs lists those that there are."
            raise UnknownJobError(msg)
        return found

    def tell(self, job_id: str, command: Command) -> Job:
        """Tell a job what to do, and return it as it then stands; told twice, it is as if it was told once.

        A job that runs is paused and stopped when its trial has ended, so it still runs when this returns. Raises
        UnknownJobError, JobOverError, and StoreError.
        """
        with self._lock:
            job = self.job(job_id)
            if job.is_over:
                msg = f"Job {job_id} is over ({job.state}): ask for the same again, and it takes over what is known."
                raise JobOverError(msg)
            if job.state == "running":
                return self._tell_running(job, command)
            if command == "resume":
                changed = job.model_copy(update={"state": "waiting", "detail": ""})
            else:
                changed = at_rest(job.model_copy(update={"wanted": command}), "")
            self._take(changed)
            return changed

    def file(self, job_id: str) -> Path:
        """Return the file of a job's journal, which may not be there yet."""
        return state_dir() / "jobs" / f"{job_id}.jsonl"

    def _tell_running(self, job: Job, command: Command) -> Job:
        if job.wanted in {command, "cancel"} or (command == "resume" and not job.wanted):
            return job
        changed = job.model_copy(update={"wanted": command})
        self._take(changed)
        if self._working and self._working.pid == job.pid:
            if command == "cancel":
                self._working.kill()
            elif command != "resume":
                self._working.tell("stop")
        return changed

    def _run(self) -> None:
        while not self._closing:
            self._has_news = False  # before it looks: what changes while it does is not slept over
            try:
                self._recover()
                break
            except StoreError as error:
                self._wait(str(error))
        while not self._closing:
            self._has_news = False
            job = self._next()
            if job is None:
                self._wait("")
            else:
                self._do(job)

    def _recover(self) -> None:
        """Put what ran under a daemon before this one where it belongs. Raises StoreError."""
        with self._lock:  # a job that is asked for meanwhile has a file too
            known = self.jobs()
            for file in self.file("").parent.glob("*.jsonl"):
                if file.stem not in {job.id for job in known}:
                    file.unlink()  # of a job that is forgotten
        for job in known:
            if job.state == "running":
                end_left(job.pid, job.born_s)
                with self._lock:  # it may have been told something meanwhile
                    self._take(at_rest(self._as_it_was(self.job(job.id)), LOST))

    def _as_it_was(self, job: Job) -> Job:
        """Return a job with what its journal says of it beyond what was kept."""
        for entry in Follower(self.file(job.id)).news():
            spent_s = max(job.spent_s, entry["spent_s"])
            job = heard(job, entry).model_copy(update={"spent_s": spent_s})
        return job

    def _wait(self, problem: str) -> None:
        with self._lock:
            self.problem = problem or self.problem
            self._news.wait_for(lambda: self._has_news or self._closing, self._retry_s)

    def _next(self) -> Job | None:
        """Return the first job that may run now, and say of the others why they wait."""
        for job in self.jobs():
            if job.state != "waiting" or self._not_before_s.get(job.id, 0.0) > time.monotonic():
                continue
            if not job.order.idle_only:
                return job
            because = self._busy()
            if not because:
                return job
            self._put_off(job.id, because)
        return None

    def _put_off(self, job_id: str, because: str) -> None:
        with self._lock:
            self._not_before_s[job_id] = time.monotonic() + self._retry_s
            job = self.job(job_id)
            if job.state == "waiting" and job.detail != because:
                self._take(job.model_copy(update={"detail": because}))

    def _do(self, waiting: Job) -> None:
        started_s = time.monotonic() - waiting.spent_s
        with self._lock:
            if self._closing or self.job(waiting.id).state != "waiting":
                return
            try:
                working = Working(self._command, sitting_of(waiting), state_dir() / "jobs" / waiting.id)
            except OSError as error:
                self._take(ended(waiting, {}, f"Its process could not be started ({error})."))
                return
            self._working = working
            facts = {"state": "running", "pid": working.pid, "born_s": working.born_s, "detail": ""}
            self._take(waiting.model_copy(update=facts | {"started_at": waiting.started_at or now()}))
        last: Entry = {}
        try:
            for last in working.events():
                self._hear(waiting.id, last, time.monotonic() - started_s)
        except ValueError as error:
            last = {"event": "refused", "message": f"Its process said something that makes no sense ({error})."}
        said = working.close()
        with self._lock:
            self._working = None
            job = self.job(waiting.id).model_copy(update={"spent_s": time.monotonic() - started_s})
            if self._closing and last.get("event") != "done":
                return  # it is kept as running, and the next daemon goes on with it
            self._take(after := ended(job, last, said))
        if after.state == "waiting" and after.detail:  # without a reason, it was paused and resumed within a trial
            self._put_off(after.id, after.detail)

    def _hear(self, job_id: str, event: Entry, spent_s: float) -> None:
        with self._lock:
            job = heard(self.job(job_id), event).model_copy(update={"spent_s": spent_s})
            if event["event"] == "prepared":
                self._take(job)
            self._jobs[job_id] = job
            self._note(job, event)

    def _take(self, job: Job) -> None:
        """Let a job be as it is now, keep it, and say so to those who follow it."""
        with self._lock:
            before = self._jobs.get(job.id)
            self._jobs[job.id] = job
            self.problem = ""
            try:
                self._keep(job)
            except StoreError as error:
                self.problem = f"A job cannot be kept: {error}"
                log.exception("A job cannot be kept.")
            shown = {"state": job.state, "wanted": job.wanted or None, "detail": job.detail}
            if before is None or any(getattr(before, name) != getattr(job, name) for name in shown):
                self._note(job, {"event": "state", **shown})
                log.info("job", extra={"facts": {"job": job.id, "kind": job.order.kind, **shown}})
            self._has_news = True
            self._news.notify_all()

    def _keep(self, job: Job) -> None:
        with self._open_store() as store:
            store.keep_job(job)

    def _note(self, job: Job, event: Entry) -> None:
        with suppress(OSError):  # a full disk: what is kept in the store counts, and this is for those who look on
            self._journal(job.id).add(event, job.spent_s)

    def _journal(self, job_id: str) -> Journal:
        if job_id not in self._journals:
            self.file(job_id).parent.mkdir(mode=0o700, exist_ok=True)
            self._journals[job_id] = Journal(self.file(job_id))
        return self._journals[job_id]
