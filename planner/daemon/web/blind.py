"""The blind page and its JSON twin. What is sent says nothing of which image is which, and answers cost the same."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path, Query
from fastapi.responses import HTMLResponse, Response
from pydantic import Field

from ....errors import NoPlanError
from ....search.plan import SCHEMA_VERSION
from ....store.blind import NAME, image_of
from ....value import Value
from ...spot.play import SetLine, Shown, answer, listed, shown
from .ledger import Ledger
from .pages import Html, page

SetName = Annotated[str, Path(pattern=NAME)]
PlanQuery = Annotated[str, Query(pattern=r"^([0-9a-f]{16})?$")]
Token = Annotated[str, Path(pattern=NAME)]


class Answered(Value):
    """Which image of a screen was picked, by its token."""

    screen: int = Field(ge=0)
    picked: str = Field(pattern=NAME)


class Spots(Value):
    """What can be shown in blind pairs: `models` that were tuned, by their names; and the sets that there are."""

    schema_version: int = SCHEMA_VERSION
    models: tuple[str, ...]
    sets: tuple[SetLine, ...]


def add_blind(app: FastAPI, ledger: Ledger) -> None:
    """Add the routes of blind pairs."""

    @app.get("/v1/spot", summary="What can be shown in blind pairs, and the sets that there are")
    def spots() -> Spots:
        return Spots(models=tuple(line.model for line in ledger.models()), sets=listed())

    @app.get("/spot", **Html)
    def spot(plan: PlanQuery = "") -> HTMLResponse:
        asked = ledger.plan(plan, None) if plan else None
        return page("spot.html", found=spots(), plan=asked, twin="/v1/spot")

    @app.get("/v1/blind/{name}", summary="A set of blind pairs: the screen to be answered, or the verdict")
    def twin(name: SetName) -> Shown:
        return shown(name)

    @app.post("/v1/blind/{name}/answers", summary="Which image of a screen was picked")
    def answers(name: SetName, answered: Answered) -> Shown:
        return answer(name, answered.screen, answered.picked)

    @app.get("/blind/{name}", **Html)
    def blind(name: SetName) -> HTMLResponse:
        seen = shown(name)
        template = "verdict.html" if seen.state == "finished" else "blind.html"
        return page(template, shown=seen, twin=f"/v1/blind/{name}")

    @app.get("/blind/{name}/{token}.png", include_in_schema=False)
    def image(name: SetName, token: Token) -> Response:
        content = image_of(name, token)
        if content is None:
            raise NoPlanError("There is no such image: the set is answered, and its images are gone.")
        return Response(content, media_type="image/png")
