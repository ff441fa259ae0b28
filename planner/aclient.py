"""The daemon, asked by hand from an app that must not wait in its event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .client import TIMEOUT_S, Client

if TYPE_CHECKING:
    from ..store.job import Command
    from ..store.outcome import Ending
    from .choose import Answer
    from .daemon.wire import Health, MachineNow, PlanList, Prediction, Reported
    from .jobs.wire import JobNow


class AsyncClient:
    """A `Client` whose methods are awaited; each asks in a thread, for `timeout_s` at most, and raises as its own."""

    def __init__(self, url: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Take the daemon as `Client` does. Raises UsageError if the url leads to another machine."""
        self._client = Client(url, timeout_s)

    async def plan(self, model: str, **query: str | float | None) -> Answer:
        """Return the plan for now, as it was measured."""
        return await asyncio.to_thread(self._client.plan, model, **query)

    async def ask(self, model: str, **query: str | float | None) -> Answer | Prediction:
        """Return the plan for now, or the one that is predicted where none was measured."""
        return await asyncio.to_thread(self._client.ask, model, **query)

    async def report(self, plan_id: str, outcome: Ending, **measured: str | float | None) -> Reported:
        """Say what became of a call with a plan, and return what follows."""
        return await asyncio.to_thread(self._client.report, plan_id, outcome, **measured)

    @property
    def jobs(self) -> AsyncJobs:
        """The daemon's jobs."""
        return AsyncJobs(self._client)

    async def plans(self) -> PlanList:
        """Return every plan in short."""
        return await asyncio.to_thread(self._client.plans)

    async def machine(self) -> MachineNow:
        """Return the machine, and what is free on it now."""
        return await asyncio.to_thread(self._client.machine)

    async def door(self, path: str = "/") -> str:
        """Return the address that opens a page in a browser, once and soon, with the token of this user."""
        return await asyncio.to_thread(self._client.door, path)

    async def health(self) -> Health:
        """Return what the daemon says of itself."""
        return await asyncio.to_thread(self._client.health)


class AsyncJobs:
    """The jobs of a daemon, whose methods are awaited and are those of `Client().jobs`."""

    def __init__(self, client: Client) -> None:
        """Take who asks the daemon."""
        self._jobs = client.jobs

    async def add(self, **order: Any) -> JobNow:
        """Ask for a job, and return it, or the one for the same order that is open already."""
        return await asyncio.to_thread(self._jobs.add, **order)

    async def list(self) -> tuple[JobNow, ...]:
        """Return every job that is remembered."""
        return await asyncio.to_thread(self._jobs.list)

    async def get(self, job_id: str) -> JobNow:
        """Return one job."""
        return await asyncio.to_thread(self._jobs.get, job_id)

    async def tell(self, job_id: str, command: Command) -> JobNow:
        """Pause, resume, stop or cancel a job, and return it as it then stands."""
        return await asyncio.to_thread(self._jobs.tell, job_id, command)
