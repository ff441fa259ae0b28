"""Where a daemon can be: at a port of this machine, or at a socket in a folder of it."""

from __future__ import annotations

import os
import re
import socket
from http.client import HTTPConnection
from urllib.parse import urlsplit

from ...errors import UsageError

LOOPBACK_URL = r"^http://(127\.0\.0\.1|\[::1\]|localhost):[0-9]{1,5}$"
UNIX = "unix:"
"""What the address of a socket begins with; its absolute path follows."""
HAS_SOCKETS = hasattr(socket, "AF_UNIX")
MOST_PATH_BYTES = 107
"""The system has no room for a longer path of a socket (unix(7))."""


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


def check_address(address: str) -> None:
    """Raise UsageError for an address that leads to another machine, where nothing of this one is to go."""
    if re.match(LOOPBACK_URL, address.rstrip("/")) or is_socket_address(address):
        return
    raise UsageError(
        f"The daemon is on this machine, at an address like http://127.0.0.1:8377 or unix:/path/of/socket, and "
        f"{address!r} was given: reach that of another machine through `ssh -L`."
    )


def is_socket_address(address: str) -> bool:
    """Return whether an address is that of a socket in a folder, and this system has such."""
    path = address.removeprefix(UNIX)
    return (
        HAS_SOCKETS
        and address.startswith(UNIX + "/")
        and "\0" not in path
        and len(os.fsencode(path)) <= MOST_PATH_BYTES
    )
