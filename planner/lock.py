"""One tuner at a time on a machine: two would spoil each other's timings."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ..errors import BusyError, StoreError
from ..store.places import state_dir

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def the_only_tuner() -> Iterator[None]:
    """Hold the machine's lock for a while; the system lets go of it if this process dies.

    Raises BusyError where another process holds it, StoreError where its file cannot be used.
    """
    file = state_dir() / "tuner.lock"
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        msg = f"Another autotune measures on this machine (it holds {file}); two would spoil each other's timings."
        raise BusyError(msg) from None
    except OSError as error:
        msg = f"{file} cannot be locked ({error.strerror}): move it away, or change its permissions."
        raise StoreError(msg) from error
    try:
        yield
    finally:
        lock.release()
