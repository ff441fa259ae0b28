"""One exchange with the daemon over HTTP, with the time that it may take in all."""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from threading import Timer
from urllib.parse import urlsplit

from ...errors import DaemonError
from .address import UNIX
from .token import read_token
from .wire import ANSWER_LIMIT_BYTES


class SocketConnection(HTTPConnection):
    """HTTP through a socket that is a file: the host that it names is this machine."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection_to(address: str, timeout_s: float) -> HTTPConnection:
    """Return what asks the daemon at an address, not connected yet. Proxies of the environment are not asked."""
    if address.startswith(UNIX):
        return SocketConnection(address.removeprefix(UNIX), timeout_s)
    parts = urlsplit(address)
    return HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)


def fetch(url: str, path: str, timeout_s: float, body: bytes | None = None) -> tuple[int, bytes]:
    """Return status and content of what is asked or, with a body, told. No redirect is followed.

    What is told comes with the token of this user, which is read from the state folder.

    Raises DaemonError: also where it answers so slowly, byte by byte, that each byte is in time and the whole is not.
    """
    headers = {"Accept": "application/json"}
    if body is not None:
        headers |= {"Authorization": f"Bearer {read_token()}", "Content-Type": "application/json"}
    try:
        with closing(connection_to(url, timeout_s)) as connection:
            connection.connect()
            alarm = Timer(timeout_s, _hang_up, (connection.sock,))
            alarm.daemon = True
            alarm.start()
            try:
                connection.request("GET" if body is None else "POST", path, body, headers)
                response = connection.getresponse()
                content = response.read(ANSWER_LIMIT_BYTES + 1)
            finally:
                alarm.cancel()
    except (OSError, HTTPException, ValueError) as error:
        why = str(error) or type(error).__name__
        raise DaemonError(
            f"No daemon answers at {url} within {timeout_s:g} s ({why}): start one with `autotune serve`."
        ) from error
    if len(content) > ANSWER_LIMIT_BYTES:
        raise DaemonError(f"What answers at {url} says more than {ANSWER_LIMIT_BYTES} bytes: it is no daemon of ours.")
    return response.status, content


def _hang_up(connected: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile, which is as good
        connected.shutdown(socket.SHUT_RDWR)
