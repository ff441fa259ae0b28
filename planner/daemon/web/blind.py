"""The blind page and its JSON twin. What is sent says nothing of which image is which, and answers cost the same."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path
from fastapi.responses import HTMLResponse, Response
from pydantic import Field

from ....errors import NoPlanError
from ....store.blind import NAME, image_of
from ....value import Value
from ...spot.play import Shown, answer, shown
from .pages import Html, page

SetName = Annotated[str, Path(pattern=NAME)]
Token = Annotated[str, Path(pattern=NAME)]


class Answered(Value):
    """Which image of a screen was picked, by its token."""

    screen: int = Field(ge=0)
    picked: str = Field(pattern=NAME)


def add_blind(app: FastAPI) -> None:
    """Add the routes of blind pairs."""

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
