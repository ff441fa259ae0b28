"""Jobs by a script, in front of the daemon's app: what a page hears is decided by the test, event by event."""

from __future__ import annotations

import asyncio
import json
from typing import Any

ID = "01a22000-0000-7000-8000-000000000001"

AFTER = {"pause": "paused", "resume": "running", "stop": "stopped", "cancel": "cancelled"}


class Jobs:
    """An ASGI app that answers `/v1/jobs` itself, and hands on all else."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._events: list[dict[str, Any]] = []
        self._ended = False
        self.told: list[tuple[str, str]] = []
        self.job: dict[str, Any] | None = None

    def begin(self, budget_s: float = 120.0) -> None:
        """Let a job run."""
        self.job = {
            "schema_version": 1,
            "id": ID,
            "order": {"kind": "tune", "model": "shapes"},
            "state": "running",
            "wanted": None,
            "detail": "",
            "trials": 0,
            "spent_s": 0.0,
            "budget_s": budget_s,
        }

    def say(self, event: str, spent_s: float, **content: Any) -> None:
        """Let something happen in it."""
        assert self.job is not None
        number = len(self._events) + 1
        self._events.append({"number": number, "spent_s": spent_s, "event": event, **content})
        self.job["spent_s"] = spent_s

    def end(self) -> None:
        """Let go of whoever follows."""
        self._ended = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer for jobs; hand on all else."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith("/v1/jobs"):
            await self._app(scope, receive, send)
        elif path.endswith("/events"):
            await self._stream(send)
        else:
            await self._answer(scope, path, send)

    async def _answer(self, scope: Any, path: str, send: Any) -> None:
        content: Any = {"schema_version": 1, "jobs": [self.job] if self.job else []}
        if scope["method"] == "POST" and self.job:
            command = path.rpartition("/")[2]
            self.told.append((command, dict(scope["headers"]).get(b"authorization", b"").decode()))
            self.job["state"] = {"pause": "paused", "resume": "running", "stop": "stopped", "cancel": "cancelled"}[
                command
            ]
            content = self.job
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})

    async def _stream(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        told = 0
        while not self._ended:
            for event in self._events[told:]:
                line = f"id: {event['number']}\nevent: {event['event']}\ndata: {json.dumps(event)}\n\n"
                await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
            told = len(self._events)
            await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b""})
