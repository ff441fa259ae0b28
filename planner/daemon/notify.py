"""Telling systemd that the daemon is ready, that it lives, and that it stops; nobody is told where it runs otherwise.

Source: sd_notify(3), systemd.service(5) (`Type=notify`, `WatchdogSec=`).
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress


def notify(message: str) -> bool:
    """Send a line such as `READY=1` to the service manager, and return whether there is one that could be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # a socket without a file
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect(address)
        channel.sendall(message.encode())
        return True
    return False


def watchdog_s() -> float | None:
    """Return how often the service manager wants to hear that the daemon lives, None where it does not."""
    wanted, for_pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or not int(wanted) or for_pid not in {"", str(os.getpid())}:
        return None
    return int(wanted) / 1e6 / 2


async def keep_watch() -> None:
    """Say again and again that the daemon lives, from the loop that answers: where that hangs, nothing is said."""
    pause_s = watchdog_s()
    while pause_s is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(pause_s)
