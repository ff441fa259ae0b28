"""One job at a time, each as it was told, and all of them again after the daemon has gone."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from autotune.errors import BusyError, UsageError
from autotune.planner.jobs.permitted import permitted
from autotune.planner.jobs.process import BEHIND, Working
from autotune.planner.jobs.queue import MOST_OPEN, JobOverError, Queue, UnknownJobError
from autotune.planner.jobs.sitting import LOST, Sitting, heard
from autotune.store.job import Command, Job, Order, State
from autotune.store.store import Store

from .conftest import WORKER, Stage, entries, order, over, until


def runs(job: Job) -> bool:
    return job.state == "running" and job.trials > 0


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_job_is_done_and_what_happened_can_be_read(stage: Stage) -> None:
    with stage.opened() as queue:
        job = over(queue, queue.add(order()))
        assert (job.state, job.detail, job.trials, job.run) == ("done", "nothing better is expected", 3, "run-quick")
        assert (job.pid, job.budget_s) == (0, 100.0)
        assert job.spent_s > 0.1
        said = entries(queue, job)
    assert [entry["number"] for entry in said] == [*range(1, len(said) + 1)]
    assert [entry.get("state") for entry in said if entry["event"] == "state"] == ["waiting", "running", "done"]
    assert [entry["event"] for entry in said].count("trial_end") == 3


def test_the_same_order_is_the_same_job_until_it_is_over(stage: Stage) -> None:
    queue = stage.queue()
    first = queue.add(order())
    assert queue.add(order(idle_only=True)).id == first.id
    assert queue.add(order(steps=5)).id != first.id
    queue.tell(first.id, "cancel")
    assert queue.add(order()).id != first.id


def test_one_runs_at_a_time_in_the_order_in_which_they_were_asked_for(stage: Stage) -> None:
    with stage.opened() as queue:
        first, second = queue.add(order(most_trials=5)), queue.add(order("second"))
        until(queue, first, runs)
        assert queue.job(second.id).state == "waiting"
        over(queue, second)
        assert queue.job(first.id).state == "done"


def test_there_is_room_for_so_many_and_no_more(stage: Stage) -> None:
    queue = stage.queue()
    for number in range(MOST_OPEN):
        queue.add(order(f"model-{number}"))
    with pytest.raises(BusyError, match="16 jobs wait already"):
        queue.add(order("one-more"))


@pytest.mark.parametrize(("command", "state"), [("pause", "paused"), ("stop", "stopped")])
def test_the_trial_that_runs_ends_first(stage: Stage, command: Command, state: State) -> None:
    with stage.opened() as queue:
        job = until(queue, queue.add(order(most_trials=400)), runs)
        assert queue.tell(job.id, command).state == "running"
        assert queue.tell(job.id, command).wanted == command
        job = until(queue, job, lambda found: found.state == state)
        assert len(stage.trials("run-quick")) == job.trials
        said = [entry["event"] for entry in entries(queue, job)]
        assert said.count("trial_end") == said.count("trial_start")


def test_what_was_paused_goes_on_where_it_was(stage: Stage) -> None:
    with stage.opened() as queue:
        job = until(queue, queue.add(order(most_trials=8)), runs)
        queue.tell(job.id, "pause")
        paused = until(queue, job, lambda found: found.state == "paused")
        time.sleep(0.1)
        assert queue.job(job.id) == paused
        queue.tell(job.id, "resume")
        done = over(queue, job)
    assert (done.state, done.trials) == ("done", 8)
    assert done.spent_s > paused.spent_s
    assert stage.trials("run-quick") == [str(number) for number in range(8)]


def test_one_that_is_asked_for_while_the_daemon_starts_is_told_in_full(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal was once taken for that of a job that is forgotten; found by tests/stateful/test_jobs.py."""
    queue, added, asked = stage.queue(), list[Job](), threading.Event()
    asking, where = threading.Thread(target=lambda: added.append(queue.add(order()))), queue.file

    def file(job_id: str) -> Path:
        if not (job_id or asked.is_set()):  # it looks for what others have left
            asking.start()
            asking.join(0.3)
            asked.set()
        return where(job_id)

    monkeypatch.setattr(queue, "file", file)
    with closing(queue):
        queue.open()
        asked.wait(10)
        asking.join(10)
        job = over(queue, added[0])
        assert [entry["number"] for entry in entries(queue, job)][:2] == [1, 2]


def test_to_resume_what_is_about_to_pause_lets_it_go_on(stage: Stage) -> None:
    with stage.opened() as queue:
        job = until(queue, queue.add(order(most_trials=8)), runs)
        queue.tell(job.id, "pause")
        queue.tell(job.id, "resume")
        assert over(queue, job).state == "done"
    assert stage.trials("run-quick") == [str(number) for number in range(8)]


def test_to_cancel_ends_every_process_at_once(stage: Stage) -> None:
    with stage.opened() as queue:
        job = queue.add(order("family"))
        deadline = time.monotonic() + 10
        while not (started := [entry for entry in entries(queue, job) if entry["event"] == "trial_start"]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        queue.tell(job.id, "cancel")
        assert over(queue, job).state == "cancelled"
        assert [pid for pid in started[0]["pids"] if lives(pid)] == []


@pytest.mark.parametrize(
    ("model", "detail"),
    [
        ("crash", "Its process ended with status 7. no memory for that"),
        ("refused", "There is no model 'refused'."),
        ("nonsense", "Its process said something that makes no sense"),
    ],
)
def test_what_fails_says_why_and_the_next_one_runs(stage: Stage, model: str, detail: str) -> None:
    with stage.opened() as queue:
        failed, next_one = queue.add(order(model)), queue.add(order(most_trials=1))
        assert over(queue, next_one).state == "done"
        job = queue.job(failed.id)
        assert job.state == "failed"
        assert job.detail.startswith(detail)


def test_a_job_waits_while_another_tuner_measures(stage: Stage) -> None:
    with stage.opened() as queue:
        job = queue.add(order("busy"))
        until(queue, job, lambda found: found.detail == "Another autotune measures on this machine.")
        (stage.folder / "free").touch()
        assert over(queue, job).state == "done"


def test_a_polite_job_waits_and_the_others_do_not(stage: Stage) -> None:
    stage.busy = "Other programs use 80% of the CPU."
    with stage.opened() as queue:
        polite, other = queue.add(order(idle_only=True)), queue.add(order("other", most_trials=1))
        assert over(queue, other).state == "done"
        waits = until(queue, polite, lambda found: found.detail == stage.busy)
        assert waits.state == "waiting"
        stage.busy = ""
        assert over(queue, polite).state == "done"


def test_nothing_can_be_told_to_what_is_over_or_not_there(stage: Stage) -> None:
    queue = stage.queue()
    job = queue.add(order())
    queue.tell(job.id, "stop")
    with pytest.raises(JobOverError, match="is over \\(stopped\\)"):
        queue.tell(job.id, "resume")
    with pytest.raises(UnknownJobError, match="There is no job x here"):
        queue.tell("x", "resume")


def test_a_queue_that_is_closed_leaves_its_job_to_the_next(stage: Stage) -> None:
    with stage.opened() as queue:
        job = until(queue, queue.add(order(most_trials=10)), runs)
        paused = queue.add(order("paused"))
        queue.tell(paused.id, "pause")
        pid = queue.job(job.id).pid
    assert not lives(pid)
    with Store.read() as store:
        assert [each.state for each in store.jobs()] == ["running", "paused"]
    with stage.opened() as queue:
        until(queue, job, lambda found: found.detail == LOST or found.state == "running")
        done = over(queue, job)
        assert (done.state, done.trials) == ("done", 10)
        assert queue.job(paused.id).state == "paused"
        numbers = [entry["number"] for entry in entries(queue, job)]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert stage.trials("run-quick") == [str(number) for number in range(10)]


@pytest.mark.parametrize(("wanted", "state"), [("pause", "paused"), ("stop", "stopped"), ("cancel", "cancelled")])
def test_what_was_told_before_a_crash_holds_after_it(stage: Stage, wanted: Command, state: State) -> None:
    job = stage.queue().add(order())
    with Store.open() as store:
        store.keep_job(job.model_copy(update={"state": "running", "wanted": wanted, "pid": 1, "born_s": 1.0}))
    with stage.opened() as queue:
        assert until(queue, job, lambda found: found.state != "running").state == state


def test_a_process_that_a_crash_has_left_is_ended(stage: Stage) -> None:
    left = Working((sys.executable, "-P", str(WORKER), str(stage.folder)), Sitting(order=order("family")), stage.folder)
    job = stage.queue().add(order())
    running = {"state": "running", "pid": left.pid, "born_s": left.born_s}
    with Store.open() as store:
        store.keep_job(job.model_copy(update=running))
    with stage.opened() as queue:
        assert over(queue, job).state == "done"
    assert left._process.wait(5) != 0
    left.close()


def test_a_job_and_what_it_starts_stand_behind_others_for_the_processor(stage: Stage) -> None:
    command = (sys.executable, "-P", str(WORKER), str(stage.folder))
    working = Working(command, Sitting(order=order("family")), stage.folder / "own")
    pids = next(working.events())["pids"]
    assert [psutil.Process(pid).nice() for pid in pids] == [max(BEHIND, psutil.Process().nice())] * 2
    working.kill()
    working.close()


def test_a_line_that_was_cut_off_is_taken_away(stage: Stage) -> None:
    queue: Queue = stage.queue()
    job = queue.add(order())
    with queue.file(job.id).open("ab") as file:
        file.write(b'{"number": 2, "ev')
    again = stage.queue()
    again.tell(job.id, "stop")
    assert [entry["event"] for entry in entries(again, job)] == ["state", "state"]


def test_what_was_made_to_be_judged_is_told_by_the_job() -> None:
    job = Job(id="j", key="k", order=Order(kind="spot", model="shapes"), created_at="")
    job = heard(job, {"event": "prepared", "run": "", "trials": 0, "budget_s": 0.0})
    for made in (1, 2, 3):
        job = heard(job, {"event": "image", "made": made, "of": 12})
    job = heard(job, {"event": "done", "reason": "8 pairs", "interrupted": False, "blind": "f" * 32})
    assert (job.trials, job.blind, job.run) == (3, "f" * 32, "")


@pytest.mark.parametrize("more", [{"budget_s": 60.0}, {"weights": "random"}, {"fresh": True}])
def test_a_set_takes_nothing_that_it_has_no_use_for(more: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="that is to spot takes no"):
        permitted(Order.model_validate({"kind": "spot", "model": "shapes", "pairs": 8, **more}))
    with pytest.raises(UsageError, match="needs to know the model"):
        permitted(Order(kind="spot", pairs=8))
