"""The life of the queue of jobs, step by step at random, beside a model of it that is a few dictionaries.

Jobs are asked for, told what to do, and worked on by processes that only play: their trials end, they finish, fail, are
put off by others, or die. The daemon is restarted or killed, the disk is full for a moment, the clock jumps.
"""

from __future__ import annotations

import os
import queue
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from autotune.errors import BusyError, StoreError
from autotune.planner.jobs import queue as queue_of_jobs
from autotune.planner.jobs.journal import Follower
from autotune.planner.jobs.queue import MOST_OPEN, JobOverError, Queue
from autotune.store.job import OVER, Command, Order, State
from autotune.store.store import Store

from .lives import live, lives
from .test_life import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from autotune.planner.jobs.sitting import Sitting

PATIENCE_S = 20.0
NEVER_S = 1000.0
MODELS = tuple(f"model-{number}" for number in range(MOST_OPEN + 2))
NO_PROCESS = 2**22 + 1  # Linux numbers none so high


@dataclass
class Kept:
    """A job, as it should be."""

    model: str
    idle_only: bool
    state: State = "waiting"
    wanted: str = ""
    trials: int = 0
    put_off: bool = False

    def rest(self) -> None:
        """Run no more, between two trials: as it was told, or because something else has ended it."""
        states: dict[str, State] = {"pause": "paused", "stop": "stopped"}
        self.state, self.wanted = states.get(self.wanted, "waiting"), ""


class Player:
    """Plays the process of a job: it says what the machine below gives it to say."""

    trials: dict[str, int]  # by the run, as a store would keep them
    last: Player | None = None

    def __init__(self, _: Sequence[str], sitting: Sitting, folder: Path) -> None:
        self.job, self.pid, self.born_s = folder.name, NO_PROCESS, 1.0
        self.run = sitting.run or f"run of {folder.name}"
        self.told: list[str] = []
        self._said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._is_killed = self._takes_the_daemon_along = False
        self.say("prepared", run=self.run, trials=self.trials.setdefault(self.run, 0), budget_s=100.0)
        Player.last = self

    def say(self, event: str, **facts: Any) -> None:
        self._said.put({"event": event, **facts})

    def tell(self, line: str) -> None:
        self.told.append(line)

    def events(self) -> Iterator[dict[str, Any]]:
        while (event := self._said.get()) is not None:
            yield event
        if self._takes_the_daemon_along:
            raise SystemExit  # ends the thread between two statements, as a kill would

    def kill(self) -> None:
        self._said.put(None)

    def die_with_the_daemon(self) -> None:
        self._takes_the_daemon_along = True
        self.kill()

    def close(self) -> str:
        return "Its process ended with status -9."


class Jobs(RuleBasedStateMachine):
    """Everything that may happen to a queue of jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="autotune-jobs-", dir=MEMORY if MEMORY.is_dir() else None)
        self.jobs: dict[str, Kept] = {}
        self.busy, self.is_full, self.offset_s = "", False, 0.0
        real = time.time
        Player.trials, Player.last = {}, None
        self.patches = (
            mock.patch.dict(os.environ, {"AUTOTUNE_HOME": self.folder.name}),
            mock.patch.object(queue_of_jobs, "Working", Player),
            mock.patch.multiple(time, time=lambda: real() + self.offset_s),
        )
        for patch in self.patches:
            patch.start()
        self.start_daemon()

    def start_daemon(self) -> None:
        def open_store() -> Store:
            if self.is_full:
                msg = "The disk is full."
                raise StoreError(msg)
            return Store.open()

        self.queue = Queue(Store.read, open_store, (), lambda: self.busy, retry_s=NEVER_S)
        self.queue.open()

    def teardown(self) -> None:
        self.queue.close()
        for patch in reversed(self.patches):
            patch.stop()
        self.folder.cleanup()

    def playing(self) -> tuple[Kept, Player]:
        """Return the job that runs, and what plays its process."""
        job = next(job for job in self.jobs.values() if job.state == "running")
        assert Player.last
        return job, Player.last

    def runs(self) -> bool:
        return any(job.state == "running" for job in self.jobs.values())

    def settle(self) -> None:
        """Let the model do what the queue does by itself, and wait until the queue has done it."""
        for job in self.jobs.values():
            if self.runs():
                break
            if job.state == "waiting" and not job.put_off:
                job.put_off = job.idle_only and bool(self.busy)
                job.state = "waiting" if job.put_off else "running"
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_as_it_should_be():
            assert time.monotonic() < deadline, (self.jobs, self.queue.jobs())
            time.sleep(0.001)

    def is_as_it_should_be(self) -> bool:
        found = {job.id: (job.state, job.wanted, job.trials) for job in self.queue.jobs()}
        expected = {name: (job.state, job.wanted, job.trials) for name, job in self.jobs.items()}
        at_work = [name for name, job in self.jobs.items() if job.state == "running"]
        put_off = {name for name, job in self.jobs.items() if job.put_off}
        return (
            found == expected
            and put_off <= {*self.queue._not_before_s}
            and (not at_work or (Player.last is not None and [Player.last.job] == at_work))
        )

    @rule(model=st.sampled_from(MODELS), idle_only=st.booleans())
    def ask_for(self, model: str, *, idle_only: bool) -> None:
        order = Order(model=model, idle_only=idle_only)
        still = {name: job for name, job in self.jobs.items() if job.state not in OVER}
        same = [name for name, job in still.items() if job.model == model]
        if not same and len(still) >= MOST_OPEN:
            with pytest.raises(BusyError):
                self.queue.add(order)
            return
        job = self.queue.add(order)
        if same:
            assert [job.id] == same
        else:
            assert job.id not in self.jobs
            self.jobs[job.id] = Kept(model, idle_only)
        self.settle()

    @rule(models=st.just(MODELS))
    def ask_for_many(self, models: tuple[str, ...]) -> None:
        for model in models:
            self.ask_for(model, idle_only=False)

    @rule()
    def ask_while_the_disk_is_full(self) -> None:
        if len([job for job in self.jobs.values() if job.state not in OVER]) >= MOST_OPEN:
            return
        self.is_full = True
        with pytest.raises(StoreError):
            self.queue.add(Order(model="another one"))
        self.is_full = False

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 100), command=st.sampled_from(("pause", "resume", "stop", "cancel")))
    def tell(self, which: int, command: Command) -> None:
        name = [*self.jobs][which % len(self.jobs)]
        job = self.jobs[name]
        if job.state in OVER:
            with pytest.raises(JobOverError):
                self.queue.tell(name, command)
            return
        self.queue.tell(name, command)
        if job.state != "running":
            after: dict[Command, State] = {"pause": "paused", "resume": "waiting", "stop": "stopped"}
            job.state = after.get(command, "cancelled")
        elif command == "cancel":
            job.state, job.wanted = "cancelled", ""
        elif job.wanted or command != "resume":
            job.wanted = command
        self.settle()

    @precondition(lambda self: self.runs())
    @rule()
    def a_trial_ends(self) -> None:
        job, player = self.playing()
        player.say("trial_start")
        player.say("trial_end", trial={})
        player.trials[player.run] += 1
        job.trials += 1
        if "stop" in player.told:
            player.say("done", reason="interrupted", interrupted=True)
            player.kill()
            job.rest()
        self.settle()

    @precondition(lambda self: self.runs())
    @rule(ending=st.sampled_from(("done", "refused", "busy", "dies")))
    def it_ends(self, ending: str) -> None:
        job, player = self.playing()
        said: dict[str, dict[str, Any]] = {
            "done": {"reason": "nothing better is expected", "interrupted": False},
            "refused": {"message": "There is no such model."},
            "busy": {"message": "Another autotune measures."},
        }
        if ending in said:
            player.say(ending, **said[ending])
        player.kill()
        states: dict[str, State] = {"done": "done", "busy": "waiting"}
        job.state, job.wanted, job.put_off = states.get(ending, "failed"), "", ending == "busy"
        self.settle()

    @rule(killed=st.booleans())
    def restart_daemon(self, *, killed: bool) -> None:
        if killed and self.runs():
            self.playing()[1].die_with_the_daemon()
            self.queue._thread.join(PATIENCE_S)
        else:
            self.queue.close()
        for job in self.jobs.values():
            job.put_off = False
            if job.state == "running":
                job.rest()
        Player.last = None
        self.start_daemon()
        self.settle()

    @rule(busy=st.sampled_from(("", "Other programs use 80% of the CPU.")))
    def others_come_and_go(self, busy: str) -> None:
        self.busy = busy

    @rule(hours=st.sampled_from((-24, -1, 1, 24)))
    def clock_jumps(self, hours: int) -> None:
        self.offset_s += hours * 3600

    @invariant()
    def one_runs_at_most(self) -> None:
        assert sum(job.state == "running" for job in self.queue.jobs()) <= 1

    @invariant()
    def another_daemon_would_know_it_all(self) -> None:
        with Store.read() as store:
            kept = {job.id: (job.state, job.wanted) for job in store.jobs()}
        assert kept == {name: (job.state, job.wanted) for name, job in self.jobs.items()}

    @invariant()
    def what_happened_is_told_in_full(self) -> None:
        for name, job in self.jobs.items():
            said = Follower(self.queue.file(name)).news()
            assert [entry["number"] for entry in said] == [*range(1, len(said) + 1)]
            assert sum(entry["event"] == "trial_end" for entry in said) == job.trials
            assert [entry["state"] for entry in said if entry["event"] == "state"][-1] == job.state


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of a daemon that is killed
@lives(many=25)
def test_no_queue_goes_another_way_than_its_model(examples: int, steps: int) -> None:
    live(Jobs, examples, steps)


def test_one_that_is_paused_and_resumed_within_a_trial_goes_on_at_once() -> None:
    """It once waited as long as one that others had put off; found by the machine above."""
    life = Jobs()
    try:
        life.ask_for("model-0", idle_only=False)
        life.tell(0, "pause")
        life.tell(0, "resume")
        life.a_trial_ends()
    finally:
        life.teardown()
