"""What was read from the store for a question, kept until the store's file changes: reading takes most of an answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ...store.store import Store
    from .ask import Kept

MOST_KEPT = 64
SETTLED_S = 2.0
"""A file that changed just now may change again within the same tick of the clock that stamps it."""


class _Stamp(NamedTuple):
    """By which a file is told from what it was."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Shelf:
    """Keeps what was read. A file that is being written to, or was a moment ago, is read anew each time."""

    def __init__(self, read_store: Callable[[], AbstractContextManager[Store]]) -> None:
        """Take what opens the store."""
        self._read_store = read_store
        self._kept: dict[Hashable, tuple[Path, _Stamp, Kept]] = {}

    def look(self, question: Hashable, gather: Callable[[Store], Kept]) -> Kept:
        """Return what `gather` reads of the store, or what it read when the file was the same. Raises as it does."""
        found = self._kept.get(question)
        if found and _stamp(found[0]) == found[1]:
            return found[2]
        with self._read_store() as store:
            before = _stamp(store.path)
            gathered = gather(store)
        if before:
            rest = [item for item in self._kept.items() if item[0] != question]
            self._kept = dict([*rest[1 - MOST_KEPT :], (question, (store.path, before, gathered))])
        return gathered


def _stamp(path: Path) -> _Stamp | None:
    """Return what the file is now; None where it is not there, is being written to, or changed a moment ago."""
    try:
        found = path.stat()
    except OSError:
        return None
    if any(path.with_name(path.name + journal).exists() for journal in ("-journal", "-wal")):
        return None
    if time.time() - max(found.st_mtime, found.st_ctime) < SETTLED_S:
        return None
    return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
