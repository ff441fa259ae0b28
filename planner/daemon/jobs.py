"""The routes of jobs. What happens in one can be followed as it happens, and again from any event on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Header, Path
from fastapi.responses import Response, StreamingResponse

from ...errors import DaemonError
from ...store.job import Command, Order
from ..jobs.journal import Entry, Follower
from ..jobs.permitted import permitted
from ..jobs.queue import Queue
from ..jobs.wire import JobList, JobNow, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

JOB_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
LOOK_S = 0.25
HEARTBEAT_S = 15.0
MOST_FOLLOWERS = 8

JobId = Annotated[str, Path(pattern=JOB_ID)]
_EVENTS: dict[str, Any] = {
    "response_class": StreamingResponse,
    "responses": {
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "Events",
        },
        204: {"description": "The job is over, and there is no later event"},
    },
}


def add_job_routes(app: FastAPI, queue: Queue, alone: Sequence[Any], is_leaving: Callable[[], bool]) -> None:
    """Add the routes. alone: what a route depends on that takes no parameters; is_leaving: the daemon stops."""
    stream = _Stream(queue, is_leaving)

    @app.get("/v1/jobs", summary="Every job that is remembered", dependencies=alone)
    def jobs() -> JobList:
        return JobList(jobs=tuple(map(shown, queue.jobs())))

    @app.post("/v1/jobs", summary="Ask for a job; one that is open already is the same", dependencies=alone)
    def add(order: Order) -> JobNow:
        return shown(queue.add(permitted(order)))

    @app.get("/v1/jobs/{job_id}", summary="One job", dependencies=alone)
    def job(job_id: JobId) -> JobNow:
        return shown(queue.job(job_id))

    @app.get(
        "/v1/jobs/{job_id}/events",
        summary="What happens in a job (SSE)",
        dependencies=alone,
        **_EVENTS,
    )
    async def events(job_id: JobId, last_event_id: Annotated[str, Header(pattern="^[0-9]{0,9}$")] = "") -> Response:
        return await stream.of(job_id, int(last_event_id or 0))

    def add_command(command: Command, summary: str) -> None:
        @app.post(f"/v1/jobs/{{job_id}}/{command}", summary=summary, name=command, dependencies=alone)
        def tell(job_id: JobId) -> JobNow:
            return shown(queue.tell(job_id, command))

    add_command("pause", "Let the trial that runs end, and wait until it is resumed")
    add_command("resume", "Let a paused job go on")
    add_command("stop", "Let the trial that runs end, and conclude")
    add_command("cancel", "End it at once, with every process that it has started")


class _Stream:
    """Tells those who follow jobs what happens in them."""

    def __init__(self, queue: Queue, is_leaving: Callable[[], bool]) -> None:
        self._queue, self._is_leaving = queue, is_leaving
        self._followers = 0

    async def of(self, job_id: str, after: int) -> Response:
        """Return the events of a job behind a number. Raises UnknownJobError, and DaemonError where many follow."""
        follower = Follower(self._queue.file(job_id), after)
        is_over, first = await asyncio.to_thread(self._look, job_id, follower)
        if is_over and not first:
            return Response(status_code=204)  # this is how a browser learns not to ask again
        if self._followers >= MOST_FOLLOWERS:
            msg = f"{MOST_FOLLOWERS} programs follow jobs already: ask again when one has ended."
            raise DaemonError(msg)
        return StreamingResponse(self._told(job_id, follower, first), media_type="text/event-stream")

    async def _told(self, job_id: str, follower: Follower, news: list[Entry]) -> AsyncIterator[str]:
        """Yield events as they happen, and a sign of life where nothing does, until the job or the daemon ends."""
        self._followers += 1
        is_over, said_s = False, time.monotonic()
        try:
            while True:
                for entry in news:
                    yield f"id: {entry['number']}\nevent: {entry['event']}\ndata: {json.dumps(entry)}\n\n"
                    said_s = time.monotonic()
                if is_over or self._is_leaving():
                    return
                if time.monotonic() - said_s > HEARTBEAT_S:
                    yield ": still here\n\n"
                    said_s = time.monotonic()
                await asyncio.sleep(LOOK_S)
                is_over, news = await asyncio.to_thread(self._look, job_id, follower)
        finally:
            self._followers -= 1

    def _look(self, job_id: str, follower: Follower) -> tuple[bool, list[Entry]]:
        """Return whether the job is over, asked first so that its last event is among the news."""
        is_over = self._queue.job(job_id).is_over
        return is_over, follower.news()
