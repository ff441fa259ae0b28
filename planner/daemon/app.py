"""The routes. All that are GET only read; what is free is asked afresh at each question about a plan."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from ...errors import AutotuneError, BusyError, DaemonError, NoPlanError, StoreError, UsageError
from ...probes.machine import Machine, probe
from ...store.store import Store
from ..choose import Answer
from ..jobs.queue import JobOverError, Queue, UnknownJobError
from .ask import UnknownModelError, answer_of, gather, models_in
from .doors import add_doors
from .feedback import keep_report
from .gauge import FreeMemory, Gauge
from .guard import Guard
from .jobs import add_job_routes
from .lookout import Lookout
from .metrics import CONTENT_TYPE, Metric, exposition, metric
from .notify import keep_watch, notify
from .shelf import Shelf
from .web.blind import add_blind
from .web.jobs import add_job_pages
from .web.ledger import Ledger
from .web.pages import add_pages, overview_of, page
from .wire import (
    Health,
    MachineNow,
    PlanList,
    PlanQuery,
    Prediction,
    Question,
    Refusal,
    Report,
    Reported,
    Welcome,
    line_of,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ..forecast import Forecasts

BODY_LIMIT_BYTES = 64 * 2**10
OPENAPI_PATH = "/v1/openapi.json"
PLAN_ID = r"^[0-9a-f]{16}$"
STATUS: dict[type[AutotuneError], int] = {
    UnknownJobError: 404,
    JobOverError: 409,
    NoPlanError: 404,
    UsageError: 422,
    BusyError: 429,
    StoreError: 503,
    DaemonError: 503,
}

_SAYS = {status: {"model": Refusal} for status in (400, 401, 403, 404, 422, 503)}


class App(FastAPI):
    """A FastAPI app with the guard before everything, also before what answers errors."""

    token = ""
    answered: Counter[str]

    def build_middleware_stack(self) -> ASGIApp:
        """Return the whole stack of FastAPI, behind the guard."""
        return Guard(super().build_middleware_stack(), self.token, self.answered)


class Desk:
    """What the routes ask: the store, the machine and its free memory."""

    def __init__(
        self,
        read_store: Callable[[], Store],
        open_store: Callable[[], Store],
        lookout: Lookout,
        free_memory: FreeMemory,
        queue: Queue,
    ) -> None:
        self._read_store = read_store
        self._open_store = open_store
        self.lookout = lookout
        self._free_memory = free_memory
        self.queue = queue
        self._shelf = Shelf(self.opened)
        self.ledger = Ledger(self.opened)
        self._started_s = time.monotonic()
        self.answered: Counter[str] = Counter()

    def plan(self, query: PlanQuery) -> Answer | Prediction:
        """Return the plan for now, or what is predicted. Raises NoPlanError, StoreError and DaemonError."""
        machine, question = self.lookout.sight().machine, query.question
        free_bytes = self._free_memory(machine)
        try:
            asked = (question.model, question.adapters, question.distilled)
            kept = self._shelf.look(asked, lambda store: gather(store, question))
            return answer_of(kept, question, machine, free_bytes)
        except UnknownModelError:
            predicted = self._forecast(question, machine, free_bytes) if _can_be_predicted(question) else None
            if predicted is None:
                raise
            return predicted

    @cached_property
    def _forecasts(self) -> Forecasts:
        from ..forecast import Forecasts  # what it needs takes a while to import, and is asked only for untuned models

        return Forecasts(self.opened)

    def _forecast(self, question: Question, machine: Machine, free_bytes: Mapping[str, int]) -> Prediction | None:
        return self._forecasts.predict(question.model, question.wish, machine, free_bytes, question.max_memory_bytes)

    def report(self, plan_id: str, report: Report) -> Reported:
        """Keep what became of a plan. Raises NoPlanError if there is no such plan, and StoreError."""
        with self._open_store() as store:
            return keep_report(store, plan_id, report)

    def plans(self) -> PlanList:
        """Return every plan in short. Raises StoreError."""
        with self.opened() as store:
            plans = [plan for model in models_in(store) for plan in store.plans(model)]
            if not plans and store.damage:
                raise StoreError(f"No plan can be read, and the store is damaged: {store.damage[0]}")
        return PlanList(plans=tuple(map(line_of, plans)))

    def machine(self) -> MachineNow:
        """Return the machine. Raises DaemonError."""
        sight = self.lookout.sight()
        return MachineNow(
            fingerprint=sight.machine.fingerprint,
            software=sight.machine.software.key,
            age_s=round(sight.age_s, 3),
            free_bytes=dict(self._free_memory(sight.machine)),
            machine=sight.machine,
        )

    def health(self) -> Health:
        """Say that the daemon lives, and what keeps it from answering."""
        return Health(
            version=version(),
            pid=os.getpid(),
            uptime_s=round(time.monotonic() - self._started_s, 3),
            problems=tuple(self._problems()),
        )

    def metrics(self) -> Iterator[Metric]:
        """Yield what there is to count. What cannot be known at the moment is left out."""
        yield metric("autotune_build_info", "gauge", "The version that runs.", {version(): 1}, "version")
        yield metric("autotune_uptime_seconds", "gauge", "Since it listens.", time.monotonic() - self._started_s)
        yield metric("autotune_responses_total", "counter", "Answers, by status.", dict(self.answered), "status")
        with suppress(DaemonError):
            free = self._free_memory(self.lookout.sight(0).machine)
            yield metric("autotune_free_bytes", "gauge", "Memory that can be taken now.", free, "device")
        with suppress(StoreError):
            yield metric("autotune_plans", "gauge", "Plans that are kept.", len(self.plans().plans))

    def _problems(self) -> Iterator[str]:
        for ask in (self._store_opens, lambda: self.lookout.sight(0)):
            try:
                ask()
            except (DaemonError, StoreError) as error:
                yield str(error)
        if self.queue.problem:
            yield self.queue.problem

    def _store_opens(self) -> None:
        with self.opened():
            pass

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """Open the store for reading. Raises StoreError."""
        with self._read_store() as store:  # anew for each question: it belongs to one thread
            yield store


def create_app(  # noqa: PLR0913 - all that there is of the world
    *,
    read_store: Callable[[], Store] = Store.read,
    open_store: Callable[[], Store] = Store.open,
    probe: Callable[[], Machine] = probe,
    free_memory: FreeMemory | None = None,
    token: str = "",
    queue: Queue | None = None,
) -> FastAPI:
    """Return the daemon's app. The parameters are what it asks of the world, so that a test can be the world.

    token: who does not know it may change nothing; without one, nobody may. queue: what does jobs.
    """
    gauge = Gauge()
    desk = Desk(read_store, open_store, Lookout(probe), free_memory or gauge, queue or Queue(read_store, open_store))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        desk.lookout.look()
        desk.queue.open()
        notify("READY=1")
        watch = asyncio.create_task(keep_watch())
        ahead = asyncio.create_task(asyncio.to_thread(desk.ledger.read_ahead))
        yield
        await ahead
        watch.cancel()
        notify("STOPPING=1")
        await asyncio.to_thread(desk.queue.close)
        gauge.close()

    app = App(
        title="autotune",
        version=version(),
        summary="The fastest way to run a diffusers pipeline on this machine, as it was measured.",
        lifespan=lifespan,
        openapi_url=OPENAPI_PATH,
        docs_url=None,  # these pages would fetch scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=BODY_LIMIT_BYTES,
        dependencies=[Depends(_each_parameter_once)],
        responses=_SAYS,  # type: ignore[arg-type]  # FastAPI's own annotation leaves out what its documentation shows
    )
    app.state.is_leaving = False
    app.token, app.answered = token, desk.answered
    _add_routes(app, desk)
    add_doors(app, token)
    add_pages(app, desk.ledger, desk.machine)
    add_job_pages(app, desk.queue, desk.ledger)
    add_blind(app, desk.ledger)
    app.add_exception_handler(AutotuneError, _refused)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(HTTPException, _not_here)
    app.add_exception_handler(Exception, _broken)
    return app


def version() -> str:
    """Return the version of autotune that runs."""
    try:
        return metadata.version("autotune-diffusers")
    except metadata.PackageNotFoundError:
        return "0+checkout"


def _add_routes(app: FastAPI, desk: Desk) -> None:
    alone = [Depends(_no_parameters)]

    @app.get("/", summary="The first page; to programs, what this is", response_model=Welcome, dependencies=alone)
    def welcome(request: Request) -> Welcome | HTMLResponse:
        if "text/html" in request.headers.get("accept", ""):
            shown = page("overview.html", shown=overview_of(desk.ledger, desk.machine), twin="/v1/overview")
            shown.background = BackgroundTask(desk.ledger.read_ahead)  # who sees the models opens one
            return shown
        return Welcome(version=version(), routes=tuple(dict.fromkeys(route.path for route in app.routes)))  # type: ignore[attr-defined]

    @app.get("/v1/health", summary="That the daemon lives, and what keeps it from answering", dependencies=alone)
    def health() -> Health:
        return desk.health()

    @app.get("/v1/machine", summary="The machine, and the memory that is free now", dependencies=alone)
    def machine() -> MachineNow:
        return desk.machine()

    @app.get(
        "/metrics", summary="What it has done, for Prometheus", dependencies=alone, response_class=PlainTextResponse
    )
    def metrics() -> Response:
        return Response(exposition(desk.metrics()), media_type=CONTENT_TYPE)

    @app.get(
        "/v1/plan",
        summary="The fastest plan that fits the memory that is free now",
        response_model=Answer | Prediction,
    )
    def plan(query: Annotated[PlanQuery, Query()]) -> Response:
        # in the thread that found it: FastAPI would take another one to write it
        return Response(desk.plan(query).model_dump_json(), media_type="application/json")

    @app.get("/v1/plans", summary="Every plan, in short", dependencies=alone)
    def plans() -> PlanList:
        return desk.plans()

    @app.post("/v1/plans/{plan_id}/outcome", summary="What became of a call with a plan", dependencies=alone)
    def outcome(plan_id: Annotated[str, Path(pattern=PLAN_ID)], report: Report) -> Reported:
        return desk.report(plan_id, report)

    add_job_routes(app, desk.queue, alone, lambda: app.state.is_leaving)


def _can_be_predicted(question: Question) -> bool:
    """Return whether nothing is asked that only a measurement can say."""
    return not (question.adapters or question.distilled or question.min_quality is not None or question.device)


# async, that is in the loop: each of these would else cost a question a thread of its own
async def _each_parameter_once(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    twice = sorted({name[:40] for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{twice[0]} is given more than once, and only one value can be meant.")


async def _no_parameters(request: Request) -> None:
    if request.query_params:
        raise UsageError(f"{request.url.path} takes no parameters.")


async def _refused(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    near = error.near if isinstance(error, UnknownModelError) else ()
    kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ == AutotuneError.__module__)
    if "text/html" in request.headers.get("accept", ""):
        refused = page("refused.html", message=str(error))
        refused.status_code = status
        return refused
    return _response(status, kind, str(error), near)


async def _misunderstood(_: Request, error: Exception) -> Response:
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    return _response(422, "UsageError", " ".join(map(_sentence, problems)))


async def _not_here(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    known = {
        404: "There is no such route: GET / lists those that there are.",
        405: "This route does not understand that method: see /v1/openapi.json.",
    }
    return _response(status, "UsageError", known.get(status, f"This request cannot be answered ({status})."))


async def _broken(_: Request, error: Exception) -> Response:
    message = f"The daemon has a bug ({type(error).__name__}), and its log says more. Plans can be read without it."
    return _response(500, "AutotuneError", message)


def _sentence(problem: dict[str, Any]) -> str:
    name = str(problem["loc"][-1])[:40]
    if problem["type"] == "missing":
        return f"{name} is missing."
    if problem["type"] == "extra_forbidden":
        return f"There is no parameter {name}."
    return f"{name} cannot be {str(problem['input'])[:80]!r}: {problem['msg'].removeprefix('Value error, ')}."


def _response(status: int, error: str, message: str, near: tuple[str, ...] = ()) -> Response:
    content = Refusal(error=error, message=message, near=near).model_dump_json()
    headers = {"Retry-After": "1"} if status in {429, 503} else None
    return Response(content, status, headers, media_type="application/json")
