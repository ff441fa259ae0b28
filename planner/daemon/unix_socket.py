"""A socket in a folder, beside the port: the system itself keeps other users away from it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import DaemonError, UsageError
from .address import HAS_SOCKETS, MOST_PATH_BYTES

BACKLOG = 128
"""So many connections may wait to be taken, here and at the port."""
PATIENCE_S = 1.0
"""Whoever listens accepts at once; a connection that has to wait meets somebody who lives."""


@contextmanager
def unix_listener(path: Path) -> Iterator[socket.socket]:
    """Listen at `path`, for this user alone, and remove the socket at the end.

    Raises UsageError for a path that no socket can have, and DaemonError if somebody listens there, if something else
    is there, or if it cannot be made.
    """
    _check(path)
    _remove_left_over(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            ours = _bind(listener, path)
            listener.listen(BACKLOG)
        except OSError as error:
            raise DaemonError(
                f"A socket cannot be made at {path} ({error.strerror}): choose another with `autotune serve --socket`."
            ) from error
        try:
            yield listener
        finally:
            with suppress(OSError):
                if _inode(path) == ours:
                    path.unlink()


def _check(path: Path) -> None:
    if not HAS_SOCKETS:
        raise UsageError("This system has no sockets in folders: listen at a port alone.")
    if len(os.fsencode(path)) > MOST_PATH_BYTES:
        raise UsageError(f"The path of a socket has at most {MOST_PATH_BYTES} bytes, and {path} has more.")


def _remove_left_over(path: Path) -> None:
    """Remove the socket of a daemon that has died. Raises DaemonError where one lives, or something else is there."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # nothing is there, or what is wrong is said when the socket is made
    if not stat.S_ISSOCK(mode):
        raise DaemonError(f"{path} is there already and is no socket: choose another with `autotune serve --socket`.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(PATIENCE_S)
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                path.unlink()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            raise DaemonError(
                f"It cannot be told whether somebody listens at {path} ({error.strerror or error}): "
                f"choose another with `autotune serve --socket`."
            ) from error
    raise DaemonError(f"Another program listens at {path}: choose another with `autotune serve --socket`.")


def _bind(listener: socket.socket, path: Path) -> tuple[int, int]:
    """Make the socket's file, which is never readable by others, and return by what it is known."""
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return _inode(path)


def _inode(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
