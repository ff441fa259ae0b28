"""The pages of jobs; their twins are the routes of jobs themselves. What happens in one is followed by a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.responses import HTMLResponse  # noqa: TC002 - FastAPI reads the annotations

from ...jobs.wire import shown
from ..jobs import JobId
from .ledger import Ledger
from .pages import Html, page

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ....store.job import Order
    from ...jobs.queue import Queue


def add_job_pages(app: FastAPI, queue: Queue, ledger: Ledger) -> None:
    """Add the pages of all jobs, and of each."""

    @app.get("/jobs", **Html)
    def jobs() -> HTMLResponse:
        newest = [shown(job) for job in reversed(queue.jobs())]
        return page("jobs.html", jobs=newest, twin="/v1/jobs")

    @app.get("/jobs/{job_id}", **Html)
    def job(job_id: JobId) -> HTMLResponse:
        seen = shown(queue.job(job_id))
        return page(
            "job.html",
            job=seen,
            asked=_asked(seen.order),
            model=ledger.model_of(seen.run),
            twin=f"/v1/jobs/{job_id}",
        )


def _asked(order: Order) -> dict[str, str]:
    """Return what an order says beyond what goes without saying, in the words of its fields."""
    said = order.model_dump(exclude_defaults=True, exclude={"kind", "model", "plan"})
    return {name.removesuffix("_s").replace("_", " "): _said(name, content) for name, content in said.items()}


def _said(name: str, content: object) -> str:
    if isinstance(content, bool):
        return "yes"
    if isinstance(content, tuple):
        return ", ".join(map(str, content))
    return f"{content:g} s" if name.endswith("_s") else str(content)
