"""What was read from the store for a question, kept until the store's file changes: reading takes most of an answer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ...store.store import Store
    from .ask import Kept

MOST_KEPT = 64
SETTLED_S = 0.05
"""A file that changed just now may change again within the same tick of the clock that stamps it."""
COARSE_S = 2.0
"""That tick where a stamp has whole milliseconds: some file systems count no finer than in one second or two."""


class _Stamp(NamedTuple):
    """By which a file is told from what it was."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class _Read(NamedTuple):
    """What was read, and when that began by the monotonic clock; without a stamp it is for those alone who waited."""

    path: Path
    stamp: _Stamp | None
    began_s: float
    content: Kept


class Shelf:
    """Keeps what was read. A file that is being written to, or was a moment ago, is read anew.

    Even then one reading is enough for all who asked before it began: many questions do not wait for as many readings.
    """

    def __init__(self, read_store: Callable[[], AbstractContextManager[Store]]) -> None:
        """Take what opens the store."""
        self._read_store = read_store
        self._kept: dict[Hashable, _Read] = {}
        self._reading = threading.Lock()

    def look(self, question: Hashable, gather: Callable[[Store], Kept]) -> Kept:
        """Return what `gather` reads of the store, or what it read when the file was the same. Raises as it does."""
        asked_s = time.monotonic()
        found = self._kept.get(question)
        if found and found.stamp and _stamp(found.path) == found.stamp:
            return found.content
        with self._reading:
            found = self._kept.get(question)
            if found and found.began_s > asked_s:
                return found.content
            began_s = time.monotonic()
            with self._read_store() as store:
                stamp = _stamp(store.path)
                read = _Read(store.path, stamp, began_s, gather(store))
            rest = [item for item in self._kept.items() if item[0] != question]
            self._kept = dict([*rest[1 - MOST_KEPT :], (question, read)])
        return read.content


def _stamp(path: Path) -> _Stamp | None:
    """Return what the file is now; None where it is not there, is being written to, or changed a moment ago."""
    try:
        found = path.stat()
    except OSError:
        return None
    if any(path.with_name(path.name + journal).exists() for journal in ("-journal", "-wal")):
        return None
    if time.time() - max(found.st_mtime, found.st_ctime) < _tick_s(found.st_mtime_ns, found.st_ctime_ns):
        return None
    return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _tick_s(*stamps_ns: int) -> float:
    return SETTLED_S if all(stamp_ns % 1_000_000 for stamp_ns in stamps_ns) else COARSE_S
