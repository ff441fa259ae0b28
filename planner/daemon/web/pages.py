"""The routes of the pages, and of their JSON twins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query
from fastapi.responses import HTMLResponse, Response

from ....errors import DaemonError, NoPlanError
from ....store.album import picture_file
from ...compare import Comparison, compared
from ...pages.account import Account
from ...pages.tally import Dot
from ..wire import MODEL, MachineNow
from .ledger import Ledger
from .now import now_of
from .views import History, Now, Overview, PlanPage, TrialPage

MOST_ROWS = 200
"""A table of more trials is read by programs, which have JSON for it."""

STATIC = {
    "style.css": "text/css",
    "app.js": "text/javascript",
    "blind.js": "text/javascript",
    "jobs.js": "text/javascript",
    "spot.js": "text/javascript",
    "htmx.min.js": "text/javascript",
    "mark.svg": "image/svg+xml",
}

ModelName = Annotated[str, Path(pattern=MODEL)]
RunName = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]
Run = Annotated[str, Query(pattern=r"^[0-9a-f-]{36}$")]
RunQuery = Annotated[str, Query(pattern=r"^([0-9a-f-]{36})?$")]
PlanName = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Html: dict[str, Any] = {"response_class": HTMLResponse, "include_in_schema": False}


def page(template: str, **content: Any) -> HTMLResponse:
    """Return a page of the daemon."""
    from ...pages.render import render  # Jinja2 takes a tenth of a second: nobody who asks for JSON waits for it

    return HTMLResponse(render(template, **content))


def add_pages(app: FastAPI, ledger: Ledger, machine_now: Callable[[], MachineNow]) -> None:
    """Add the pages of what was tuned, their twins, and their files."""
    _add_twins(app, ledger, machine_now)
    _add_pages(app, ledger, machine_now)
    _add_files(app)


def overview_of(ledger: Ledger, machine_now: Callable[[], MachineNow]) -> Overview:
    """Return what the first page shows."""
    return Overview(now=_now(machine_now), models=ledger.models())


def _now(machine_now: Callable[[], MachineNow]) -> Now | None:
    with suppress(DaemonError):
        return now_of(machine_now())
    return None


def _add_twins(app: FastAPI, ledger: Ledger, machine_now: Callable[[], MachineNow]) -> None:
    @app.get("/v1/overview", summary="The machine now, and every model that was tuned")
    def overview() -> Overview:
        return overview_of(ledger, machine_now)

    @app.get("/v1/models/{model:path}", summary="A tuning: its front, its failures, its plans")
    def model(model: ModelName, run: RunQuery = "") -> Account:
        return ledger.account(model, run)

    @app.get("/v1/history/{model:path}", summary="The tunings of a model, across versions")
    def history(model: ModelName) -> History:
        return ledger.history(model)

    @app.get("/v1/plans/{plan_id}", summary="A plan with its evidence")
    def plan(plan_id: PlanName) -> PlanPage:
        return _plan(ledger, machine_now, plan_id)

    @app.get("/v1/trials/{run}/{number}/{model:path}", summary="A trial, and which images are kept of it")
    def trial(run: RunName, number: int, model: ModelName) -> TrialPage:
        return ledger.trial(model, run, number)

    @app.get("/v1/compare", summary="Two runs side by side")
    def compare(a: Run, b: Run) -> Comparison:
        return _compared(ledger, a, b)


def _compared(ledger: Ledger, a: str, b: str) -> Comparison:
    return compared(ledger.run(a), ledger.run(b))


def _add_pages(app: FastAPI, ledger: Ledger, machine_now: Callable[[], MachineNow]) -> None:
    @app.get("/models/{model:path}", **Html)
    def model(model: ModelName, run: RunQuery = "") -> HTMLResponse:
        from ...pages.report import charts_of

        told = ledger.account(model, run)
        rows = sorted(told.dots, key=lambda dot: (dot.latency_ms is None, dot.latency_ms or 0.0))[:MOST_ROWS]
        return page(
            "model.html",
            told=told,
            charts=charts_of(told),
            rows=rows,
            link=_to_trial(told),
            twin=f"/v1/models/{model}" + (f"?run={run}" if run else ""),
        )

    @app.get("/history/{model:path}", **Html)
    def history(model: ModelName) -> HTMLResponse:
        return page("history.html", past=ledger.history(model), twin=f"/v1/history/{model}")

    @app.get("/plans/{plan_id}", **Html)
    def plan(plan_id: PlanName) -> HTMLResponse:
        return page("plan.html", shown=_plan(ledger, machine_now, plan_id), twin=f"/v1/plans/{plan_id}")

    @app.get("/trials/{run}/{number}/{model:path}", **Html)
    def trial(run: RunName, number: int, model: ModelName) -> HTMLResponse:
        return page("trial.html", shown=ledger.trial(model, run, number), twin=f"/v1/trials/{run}/{number}/{model}")

    @app.get("/compare", **Html)
    def compare(a: Run, b: Run) -> HTMLResponse:
        return page("compare.html", found=_compared(ledger, a, b), twin=f"/v1/compare?a={a}&b={b}")

    @app.get("/now", **Html)
    def now() -> HTMLResponse:
        return page("now.html", now=_now(machine_now))


def _add_files(app: FastAPI) -> None:
    @app.get("/static/{name}", include_in_schema=False)
    def static(name: Annotated[str, Path(pattern=r"^[a-z.]{1,20}$")]) -> Response:
        from ...pages.render import STATIC as FOLDER

        if name not in STATIC:
            raise NoPlanError("There is no such file.")
        return Response((FOLDER / name).read_bytes(), media_type=STATIC[name])

    @app.get("/images/{digest}.png", include_in_schema=False)
    def image(digest: Digest) -> Response:
        file = picture_file(digest)
        if file is None:
            raise NoPlanError("This image is not kept any more: images of the last runs are.")
        return Response(file.read_bytes(), media_type="image/png")


def _plan(ledger: Ledger, machine_now: Callable[[], MachineNow], plan_id: str) -> PlanPage:
    machine = None
    with suppress(DaemonError):
        machine = machine_now().machine
    return ledger.plan(plan_id, machine)


def _to_trial(told: Account) -> Callable[[Dot], str]:
    return lambda dot: f"/trials/{told.run}/{dot.number}/{told.model}"
