"""One-time codes by which a browser gets the token: others can read addresses, in the list of processes for one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import FastAPI, Path

from ...errors import NoPlanError
from .wire import Door, Opened

CODE = r"^[A-Za-z0-9_-]{22}$"
LASTS_S = 60.0
MOST = 32


class Doors:
    """Codes that open once, and only soon after they were made. Whoever makes one knows the token already."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._codes: dict[str, float] = {}

    def make(self) -> str:
        """Return a code that opens once within a minute."""
        now = self._clock()
        living = {code: until for code, until in self._codes.items() if until > now}
        code = secrets.token_urlsafe(16)
        self._codes = dict([*living.items(), (code, now + LASTS_S)][-MOST:])
        return code

    def opens(self, code: str) -> bool:
        """Return whether a code opens; it does not do so again."""
        return self._codes.pop(code, 0.0) > self._clock()


def add_doors(app: FastAPI, token: str) -> None:
    """Add the routes that make a code, for who knows the token, and exchange it for the token."""
    doors = Doors()

    @app.post("/v1/doors", summary="A code that opens a page for this user, once")
    def door() -> Door:
        return Door(code=doors.make())

    @app.get("/v1/doors/{code}", summary="The token, for a code that was not used yet")
    def opened(code: Annotated[str, Path(pattern=CODE)]) -> Opened:
        if not doors.opens(code):
            msg = "This code was used, or is older than a minute: open the page anew."
            raise NoPlanError(msg)
        return Opened(token=token)
