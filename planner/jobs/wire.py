"""Jobs as they go over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...search.plan import SCHEMA_VERSION
from ...store.job import Command, Order, State
from ...value import Value

if TYPE_CHECKING:
    from ...store.job import Job


class JobNow(Value):
    """A job as it stands; its fields mean what those of a `Job` do."""

    schema_version: int = SCHEMA_VERSION
    id: str
    order: Order
    state: State
    wanted: Command | None
    detail: str
    run: str
    blind: str
    trials: int
    spent_s: float
    budget_s: float
    created_at: str
    started_at: str
    ended_at: str


class JobList(Value):
    """All jobs that are remembered, in the order in which they were asked for."""

    schema_version: int = SCHEMA_VERSION
    jobs: tuple[JobNow, ...]


def shown(job: Job) -> JobNow:
    """Return what is shown of a job."""
    facts = job.model_dump(include=set(JobNow.model_fields) - {"order", "wanted"})
    return JobNow(order=job.order, wanted=job.wanted or None, **facts)
