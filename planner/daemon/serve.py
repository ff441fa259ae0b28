"""Listening: on this machine alone, and in a way that apps find without being told the port."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from filelock import FileLock, Timeout

from ...errors import DaemonError, StoreError, UsageError
from ...store.places import state_dir
from ..client import Client
from .logs import Form, logging_as
from .state import Listening, read_state, remove_state, write_state
from .token import make_token
from .unix_socket import BACKLOG, unix_listener

HOSTS = {"127.0.0.1": socket.AF_INET, "localhost": socket.AF_INET, "::1": socket.AF_INET6}
PORT = 8377
HEADER_LIMIT_BYTES = 16 * 2**10

log = logging.getLogger("autotune")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def serve(
    host: str = "127.0.0.1",
    port: int = PORT,
    path: Path | None = None,
    *,
    log_form: Form = "text",
    say: Callable[[str], None] = _say,
) -> None:
    """Answer questions over HTTP until SIGINT (raises KeyboardInterrupt) or SIGTERM (raises SystemExit(143)).

    host: 127.0.0.1, ::1 or localhost. There is no way to listen to other machines: who may ask is not checked yet.
    port: 0 takes any that is free.
    path: where to listen beside it, at a socket that this user alone can open.
    log_form: how the log on standard error is written; as JSON, what happens is in it too.
    say: is told where it listens.

    Raises UsageError for another host, DaemonError if the port or the path is taken or another daemon of this user
    lives, and StoreError if the folder of its state file cannot be written to.
    """
    _check(host, port)
    _refuse_second()
    path = path.expanduser().absolute() if path else None
    beside = unix_listener(path) if path else nullcontext()
    with _the_only_daemon(), _listener(host, port) as listener, beside as other, _terminable():
        bound = listener.getsockname()[1]
        url = f"http://[::1]:{bound}" if host == "::1" else f"http://127.0.0.1:{bound}"
        token = make_token()
        server = _server([listener, other] if other else [listener], token)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        listening = Listening(url=url, socket=str(path or ""), pid=os.getpid(), started=started)
        write_state(listening)
        try:
            and_at = f" and {path} (for this user only)" if path else ""
            say(f"autotune listens on {url} (for this machine only){and_at}; try: curl '{url}/v1/plan?model=shapes'")
            with logging_as(log_form, token):
                log.info("listening", extra={"facts": listening.model_dump(exclude_defaults=True)})
                try:
                    server()
                finally:
                    log.info("stopped")
        finally:
            remove_state(os.getpid())


def _check(host: str, port: int) -> None:
    if host not in HOSTS:
        raise UsageError(
            f"The daemon listens on {', '.join(HOSTS)} only, and {host} was asked for: "
            f"from another machine, reach it through `ssh -L {PORT}:127.0.0.1:{PORT}`."
        )
    if not 0 <= port <= 65535:
        raise UsageError(f"A port is a number from 0 to 65535, and {port} was given.")


def _refuse_second() -> None:
    """Raise DaemonError where another daemon lives and answers; the file of one that does not is replaced."""
    other = read_state()
    if other is None or other.pid == os.getpid():
        return
    try:
        health = Client(other.address).health()
    except DaemonError:
        return
    if health.pid == other.pid:
        raise DaemonError(f"A daemon listens on {other.address} already (process {other.pid}): ask that, or stop it.")


@contextmanager
def _the_only_daemon() -> Iterator[None]:
    """Hold a lock for the daemon's life: of two that start at one moment, neither sees that the other answers."""
    file = state_dir() / "daemon.lock"
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DaemonError(
            f"Another daemon starts just now, or lives and does not answer (it holds {file}): ask `autotune status`."
        ) from None
    except OSError as error:
        raise StoreError(f"{file} cannot be locked ({error.strerror}): move it away, or set AUTOTUNE_HOME.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _listener(host: str, port: int) -> Iterator[socket.socket]:
    family = HOSTS[host]
    address = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with _socket(family) as listener:
        if os.name == "posix":  # take a port whose last connections are still closing; elsewhere it would mean more
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(BACKLOG)
        except OSError as error:
            why = {errno.EADDRINUSE: "another program listens there", errno.EACCES: "only root may listen there"}
            reason = why.get(error.errno or 0, error.strerror or str(error))
            raise DaemonError(
                f"Port {port} of {address} cannot be had ({reason}): choose another with `autotune serve --port`."
            ) from error
        yield listener


def _socket(family: socket.AddressFamily) -> socket.socket:
    try:
        # asyncio sets TCP_NODELAY only where the protocol is named; else each answer waits 40 ms for a delayed ACK
        return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise DaemonError(f"This machine has no such sockets ({error.strerror}): listen on 127.0.0.1.") from error


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind, so that the state file is removed, unless somebody has decided on it already."""
    decided = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    if decided or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _server(listeners: list[socket.socket], token: str) -> Callable[[], None]:
    """Return what answers on `listeners` until a signal comes, which it then raises again."""
    import uvicorn

    from .app import create_app
    from .connection import MOST_CONNECTIONS, Connection

    app = create_app(token=token)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.is_leaving = True  # those who follow a job are not waited for
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        h11_max_incomplete_event_size=HEADER_LIMIT_BYTES,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
    )
    return lambda: Server(config).run(sockets=listeners)
