"""What the process of a job is told, and what a job becomes by what that says: values in, values out."""

from __future__ import annotations

from typing import Any

from ...store.job import Job, Order
from ...store.run import now
from ...value import Value

LOST = "The daemon ended while it ran; it goes on where it was."


class Sitting(Value):
    """What is to be done, and what earlier sittings have left: a run, and how much of the budget."""

    order: Order
    run: str = ""
    spent_s: float = 0.0
    budget_s: float = 0.0


def sitting_of(job: Job) -> Sitting:
    """Return what the process of a job is told."""
    return Sitting(order=job.order, run=job.run, spent_s=job.spent_s, budget_s=job.budget_s)


def heard(job: Job, event: dict[str, Any]) -> Job:
    """Return the job after an event."""
    if event["event"] == "prepared":
        facts = {"run": event["run"], "trials": event["trials"], "budget_s": job.budget_s or event["budget_s"]}
        return job.model_copy(update=facts)
    if event["event"] in {"trial_end", "row", "image"}:
        return job.model_copy(update={"trials": job.trials + 1})
    return job.model_copy(update={"blind": event.get("blind", job.blind)})


def ended(job: Job, last: dict[str, Any], said: str) -> Job:
    """Return a running job after its process has ended. last: its last event; said: its last words, if it had none."""
    kind = last.get("event")
    if job.wanted == "cancel":
        return _over(job, "cancelled", "cancelled")
    if kind == "busy":
        return _waits(job, last["message"])
    if kind == "refused":
        return _over(job, "failed", last["message"])
    if kind != "done":
        return _over(job, "failed", said)
    if not last["interrupted"]:
        return _over(job, "done", last["reason"])
    return at_rest(job, last.get("because", ""))


def at_rest(job: Job, because: str) -> Job:
    """Return a running job that was interrupted between two trials, by what it was told or for another reason."""
    if job.wanted == "stop":
        return _over(job, "stopped", "stopped")
    if job.wanted == "cancel":
        return _over(job, "cancelled", "cancelled")
    if job.wanted == "pause":
        return job.model_copy(update={"state": "paused", "wanted": "", "detail": "", "pid": 0, "born_s": 0.0})
    return _waits(job, because)


def _waits(job: Job, detail: str) -> Job:
    return job.model_copy(update={"state": "waiting", "wanted": "", "detail": detail, "pid": 0, "born_s": 0.0})


def _over(job: Job, state: str, detail: str) -> Job:
    facts = {"state": state, "wanted": "", "detail": detail, "pid": 0, "born_s": 0.0, "ended_at": now()}
    return job.model_copy(update=facts)
