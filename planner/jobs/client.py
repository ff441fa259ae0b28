"""Jobs, asked for and followed from Python: what `autotune.Client().jobs` is."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from ...errors import DaemonError, UsageError
from ...store.job import Command, Order
from ..daemon.fetch import connection_to
from .wire import JobList, JobNow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...value import Value

QUIET_S = 60.0
"""The daemon gives a sign of life far more often to those who follow."""

V = TypeVar("V")


class Asking(Protocol):
    """How a daemon is asked."""

    @property
    def url(self) -> str:
        """Where the daemon is."""
        ...

    def get(self, path: str, kind: type[V]) -> V:
        """Return what a route says."""
        ...

    def post(self, path: str, kind: type[V], content: Value | None = None) -> V:
        """Return what a route says that changes something."""
        ...


class Jobs:
    """The jobs of a daemon. Every method raises DaemonError where that does not answer, UsageError for no such job."""

    def __init__(self, daemon: Asking) -> None:
        """Take who asks the daemon."""
        self._daemon = daemon

    def add(self, **order: Any) -> JobNow:
        """Ask for a job, and return it, or the one for the same order that is open already.

        order: the fields of an `Order`, such as model="shapes", budget_s=600, idle_only=True.

        Raises UsageError for what cannot be meant, and BusyError where too many are open.
        """
        return self._daemon.post("/v1/jobs", JobNow, order_of(**order))

    def list(self) -> tuple[JobNow, ...]:
        """Return every job that is remembered, in the order in which they were asked for."""
        return self._daemon.get("/v1/jobs", JobList).jobs

    def get(self, job_id: str) -> JobNow:
        """Return one job."""
        return self._daemon.get(_path(job_id), JobNow)

    def tell(self, job_id: str, command: Command) -> JobNow:
        """Pause, resume, stop or cancel a job, and return it as it then stands. Raises UsageError where it is over."""
        return self._daemon.post(f"{_path(job_id)}/{command}", JobNow)

    def follow(self, job_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the events of a job behind the one of that number as they happen, until it is over."""
        connection = connection_to(self._daemon.url, QUIET_S)
        try:
            connection.request("GET", f"{_path(job_id)}/events", headers={"Last-Event-ID": str(after)})
            response = connection.getresponse()
            if response.status not in {200, 204}:
                raise DaemonError(f"Job {job_id} cannot be followed: {response.read(4096).decode(errors='replace')}")
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))
        except (OSError, HTTPException) as error:
            raise DaemonError(f"The daemon has gone while job {job_id} was followed ({error}).") from error
        finally:
            connection.close()


def order_of(**order: Any) -> Order:
    """Return the order that says so. Raises UsageError for what cannot be meant."""
    try:
        return Order.model_validate(order)
    except ValidationError as error:
        wrong = error.errors()[0]
        msg = f"A job cannot have {wrong['loc'][0]}={wrong['input']!r}: {wrong['msg']}."
        raise UsageError(msg) from error


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
