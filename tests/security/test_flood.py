"""Whoever opens many connections, says nothing, or says too much: those who ask are answered all the same."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from autotune.planner.client import Client
from autotune.planner.daemon import connection
from autotune.planner.daemon.connection import MOST_CONNECTIONS, REQUEST_S
from autotune.planner.daemon.token import read_token

from ..daemon.conftest import KNOWS, World, listening
from ..daemon.family import keep
from ..daemon.test_serve import Served, served

MANY = 1000
CROWDS = 3
MOST_GROWTH_BYTES = 50 * 2**20
ASK = b"GET /v1/plan?model=shapes HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
SILENT = (
    b"",
    b"GET /v1/pl",
    b"GET /v1/plan HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: a",
    POST + b"Content-Length: 60000\r\n",
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_HOME", str(tmp_path_factory.mktemp("home")))
        keep()
        with served() as one:
            yield one


def known(daemon: Served) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_HOME", daemon.home)
        return f"Authorization: Bearer {read_token()}\r\n".encode()


@contextmanager
def crowd(port: int, says: tuple[bytes, ...], count: int) -> Iterator[list[socket.socket]]:
    """So many connections, on which this was said by turns, and nothing more."""
    with ExitStack() as opened:
        found = []
        for number in range(count):
            each = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            each.sendall(says[number % len(says)])
            found.append(each)
        yield found


def status(port: int, text: bytes, more: bytes = b"", most_bytes: int = 0) -> int:
    """Return what is answered; `more` is said again and again until then, up to so many bytes. 0: hung up."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as opened:
        try:
            opened.sendall(text)
            opened.setblocking(not more)
            for _ in range(most_bytes // max(1, len(more))):
                try:
                    opened.send(more)
                except BlockingIOError:
                    time.sleep(0.001)
            opened.settimeout(30)
            return int((opened.recv(4096).split() or [b"", b"0"])[1])
        except (ConnectionError, BrokenPipeError):
            return 0


def is_told(daemon: Served, expected: int, limit_s: float = 20) -> bool:
    """Ask until that is the answer: on a busy machine connections are taken late, and are new for so long."""
    deadline = time.monotonic() + limit_s
    while status(daemon.port, ASK) != expected:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_silent_crowd_keeps_nobody_out(daemon: Served) -> None:
    with crowd(daemon.port, SILENT, 3 * MOST_CONNECTIONS):
        assert is_told(daemon, 200)
        assert Counter(status(daemon.port, ASK) for _ in range(50)) == {200: 50}


def test_a_crowd_that_asks_is_turned_away_and_the_daemon_goes_on(daemon: Served) -> None:
    slow = POST + known(daemon) + b"Content-Length: 60000\r\n\r\n{"
    with ExitStack() as crowds:

        def turns_away() -> bool:
            crowds.enter_context(crowd(daemon.port, (slow,), MOST_CONNECTIONS + 8))
            return is_told(daemon, 503, REQUEST_S / 2)

        # a daemon that stands still may hang up on some of a crowd before it has read what they ask
        assert any(turns_away() for _ in range(CROWDS))
    assert is_told(daemon, 200)


def test_a_thousand_changes_at_once_cost_no_memory(daemon: Served) -> None:
    process = psutil.Process(daemon.process.pid)
    before_bytes = process.memory_info().rss
    with ThreadPoolExecutor(16) as pool:
        body = b'Content-Length: 19\r\nConnection: close\r\n\r\n{"model": "shapes!"}'
        posted = pool.map(lambda _: status(daemon.port, POST + body), range(MANY))
        asked = [status(daemon.port, ASK) for _ in range(50)]
        assert {*posted} <= {401, 503}
    assert Counter(asked) == {200: 50}
    assert process.memory_info().rss - before_bytes < MOST_GROWTH_BYTES


@pytest.mark.parametrize(
    "says", [b"Content-Length: 67108864\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"], ids=["long", "chunked"]
)
def test_a_body_without_end_is_not_kept(daemon: Served, says: bytes) -> None:
    process = psutil.Process(daemon.process.pid)
    before_bytes = process.memory_info().rss
    part = b"10000\r\n" + b"a" * 0x10000 + b"\r\n" if b"chunked" in says else b"a" * 0x10000
    for who, expected in ((b"", {0, 401}), (known(daemon), {0, 413})):
        assert status(daemon.port, POST + who + says, part, 64 * 2**20) in expected
    assert process.memory_info().rss - before_bytes < MOST_GROWTH_BYTES
    assert status(daemon.port, ASK) == 200


@contextmanager
def talking(patience_s: float) -> Iterator[socket.socket]:
    """A connection to a daemon that waits so long for a request, and has hung up on nobody else in the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "REQUEST_S", patience_s)
        with listening(World().app()) as url:
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as opened:
                yield opened
            assert Client(url).health().name == "autotune"


SLOW_BODY = POST + f"Authorization: {KNOWS['authorization']}\r\nContent-Length: 60000\r\n\r\n{{".encode()


@pytest.mark.parametrize("says", [*SILENT, SLOW_BODY])
def test_who_does_not_finish_is_hung_up_on(says: bytes) -> None:
    with talking(patience_s=0.2) as opened:
        opened.sendall(says)
        assert opened.recv(1) == b""


def test_who_asks_slowly_but_does_ask_is_answered() -> None:
    with talking(patience_s=5.0) as opened:
        for _ in range(3):
            for part in (b"GET /v1/health HTTP/1.1\r\n", b"Host: 127.0.0.1\r\n", b"\r\n"):
                time.sleep(0.05)
                opened.sendall(part)
            said = b""
            while not said.endswith(b"}"):
                said += opened.recv(65536) or pytest.fail(f"hung up after {said!r}")
            assert said.startswith(b"HTTP/1.1 200 ")
