"""A connection on which nothing is asked must not keep those out who ask.

uvicorn counts connections, and waits for a first request, or the rest of one, for ever: as many as it allows, opened by
one program that says nothing, would silence the daemon (slowloris).
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 32
"""So many at a time. Another takes the place of that which has been silent for longest; without one, it is told 503."""
BRIEF_S = 0.5
"""A connection is not yet silent for so long: its request may be on the way."""
REQUEST_S = 10.0
"""A request, body included, has come within this time, or its connection is closed."""


class Connection(H11Protocol):
    """One that is closed where no whole request comes, and sooner where others wait."""

    silent_since = 0.0
    _timer: asyncio.TimerHandle | None = None

    @property
    def is_silent(self) -> bool:
        """Whether nothing is asked on it that waits for an answer."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request, in the place of others if there are too many."""
        super().connection_made(transport)  # type: ignore[arg-type]  # what asyncio gives to a server is a Transport
        self._wait()
        if len(self.connections) >= MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._wait()

    def _make_room(self) -> None:
        long_ago = self.loop.time() - BRIEF_S
        open_ones = (
            each for each in self.connections if isinstance(each, Connection) and not each.transport.is_closing()
        )
        silent = [each for each in open_ones if each.is_silent and each.silent_since < long_ago]
        silent.sort(key=lambda each: each.silent_since)
        for each in silent[: len(self.connections) - MOST_CONNECTIONS + 1]:
            each.transport.abort()

    def _wait(self) -> None:
        if self._timer:
            self._timer.cancel()
        self.silent_since = self.loop.time()
        self._timer = self.loop.call_later(REQUEST_S, self._give_up)

    def _give_up(self) -> None:
        if self.is_silent or self.cycle.more_body:
            self.transport.abort()
