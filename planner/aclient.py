"""The daemon, asked by hand from an app that must not wait in its event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .client import TIMEOUT_S, Client

if TYPE_CHECKING:
    from ..store.outcome import Ending
    from .choose import Answer
    from .daemon.wire import Health, MachineNow, PlanList, Prediction, Reported


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

    async def plans(self) -> PlanList:
        """Return every plan in short."""
        return await asyncio.to_thread(self._client.plans)

    async def machine(self) -> MachineNow:
        """Return the machine, and what is free on it now."""
        return await asyncio.to_thread(self._client.machine)

    async def health(self) -> Health:
        """Return what the daemon says of itself."""
        return await asyncio.to_thread(self._client.health)
