"""Who may ask: programs on this machine, and pages that the daemon itself has served. Nobody else's page.

Any web page can make a browser send requests to 127.0.0.1, and by DNS rebinding even read what comes back
(CVE-2024-28224 in ollama). So each request has to name this machine as its host, exactly, and must not come from
another origin. There are no CORS headers, so that a browser hands no answer to a foreign page.

Whoever asks for a change must know the token too, which other users of this machine cannot read.

Source: W3C, Fetch Metadata Request Headers; RFC 9110, section 7.2; RFC 6454.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.responses import Response

from .wire import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every response carries, whatever made it."""

_OURS = re.compile(rb"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_READING = {"GET", "HEAD", "OPTIONS"}
_OWN_SITES = (b"same-origin", b"none")  # none: the user typed the address. A page on another local port is same-site.


class Guard:
    """Stands before everything else, so that no route, present or future, is reached around it."""

    def __init__(self, app: ASGIApp, token: str = "", answered: Counter[str] | None = None) -> None:
        """Take the app, and the token; without one, nobody may change anything. answered: counts statuses."""
        self._app = app
        self._token = token
        self._answered = Counter() if answered is None else answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the place of the app, or let the request through."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answered[str(message["status"])] += 1
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refused = refusal(scope["headers"]) or self._unknown(scope)
        app = refused or self._app
        await app(scope, receive, send_with_headers)

    def _unknown(self, scope: Scope) -> Response | None:
        """Return what is told to somebody who would change something and does not know the token."""
        if scope["method"] in _READING:
            return None
        said = _all(scope["headers"], b"authorization")
        wanted = f"Bearer {self._token}".encode()
        if self._token and len(said) == 1 and hmac.compare_digest(said[0], wanted):
            return None
        refused = _response(
            401,
            "To change something, the token is needed: send `Authorization: Bearer TOKEN`, with what is in the file "
            "`token` of the state folder of the user who started this daemon.",
            "DaemonError",
        )
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused


def refusal(headers: Sequence[tuple[bytes, bytes]]) -> Response | None:
    """Return what a request with these headers is told, None if it may pass."""
    hosts = _all(headers, b"host")
    if len(hosts) != 1 or not _OURS.fullmatch(hosts[0]):
        return _response(400, "This daemon answers to 127.0.0.1, localhost and [::1] only: ask it by such a name.")
    if any(origin != b"http://" + hosts[0] for origin in _all(headers, b"origin")):
        return _response(403, "This request comes from a page of another origin, which may not ask this daemon.")
    if any(site not in _OWN_SITES for site in _all(headers, b"sec-fetch-site")):
        return _response(403, "This request comes from a page of another site, which may not ask this daemon.")
    return None


def _all(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for each, value in headers if each.lower() == name]


def _response(status: int, message: str, error: str = "UsageError") -> Response:
    content = Refusal(error=error, message=message).model_dump_json()
    return Response(content, status, media_type="application/json")
