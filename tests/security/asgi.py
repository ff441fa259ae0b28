"""Asking an app without a client in between, which would tidy up what is asked."""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Scope


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes


def ask(
    app: ASGIApp,
    path: str,
    query: str = "",
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Reply:
    """Send a request whose path is what it is, as a socket would."""
    raw = path.encode("utf-8", "surrogatepass")
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote_to_bytes(raw).decode("utf-8", "replace"),
        "raw_path": raw,
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8377"), *((n.encode(), v.encode()) for n, v in headers.items())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8377),
        "state": {},
    }
    said: list[Message] = []
    heard = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(heard, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        said.append(message)

    async def exchange() -> None:
        await app(scope, receive, send)

    asyncio.run(exchange())
    start = next(message for message in said if message["type"] == "http.response.start")
    content = b"".join(message.get("body", b"") for message in said if message["type"] == "http.response.body")
    return Reply(start["status"], {n.decode().lower(): v.decode() for n, v in start["headers"]}, content)
