"""Where a daemon can be: at a port of this machine, or at a socket in a folder of it."""

from __future__ import annotations

import os
import re
import socket

from ...errors import UsageError

LOOPBACK_URL = r"^http://(127\.0\.0\.1|\[::1\]|localhost):[0-9]{1,5}$"
UNIX = "unix:"
"""What the address of a socket begins with; its absolute path follows."""
HAS_SOCKETS = hasattr(socket, "AF_UNIX")
MOST_PATH_BYTES = 107
"""The system has no room for a longer path of a socket (unix(7))."""


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
