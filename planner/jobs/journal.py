"""What happened in a job, in the order in which it did: a line of JSON each, numbered from 1, in a file of its own.

The file outlives the daemon, so whoever followed a job can go on where they were: with the number that they heard last.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ...store.run import now

if TYPE_CHECKING:
    from pathlib import Path

Entry = dict[str, Any]
"""An event: `number`, `at` (UTC, ISO 8601), `spent_s` (how long the job had run), `event`, and what belongs to it."""


class Follower:
    """Reads a journal as it grows."""

    def __init__(self, file: Path, after: int = 0) -> None:
        """Begin behind the entry with the number `after`."""
        self._file = file
        self._after = after
        self.offset = 0

    def news(self) -> list[Entry]:
        """Return what was written since it was asked last; nothing where there is no file yet."""
        try:
            with self._file.open("rb") as file:
                file.seek(self.offset)
                read = file.read()
        except OSError:
            return []
        whole = read[: read.rfind(b"\n") + 1]
        self.offset += len(whole)
        entries: list[Entry] = [json.loads(line) for line in whole.splitlines()]
        return [entry for entry in entries if entry["number"] > self._after]


class Journal:
    """Writes the file of one job; there is one writer at a time."""

    def __init__(self, file: Path) -> None:
        """Take the file; a last line that its writer could not finish is taken away."""
        follower = Follower(file)
        self._file = file
        self._count = len(follower.news())
        if file.exists() and file.stat().st_size > follower.offset:
            os.truncate(file, follower.offset)

    def add(self, event: Entry, spent_s: float) -> Entry:
        """Write an event at the end, and return it with its number. Raises OSError."""
        entry = {"number": self._count + 1, "at": now(), "spent_s": round(spent_s, 3), **event}
        with self._file.open("ab") as file:
            file.write(json.dumps(entry, allow_nan=False).encode() + b"\n")
        self._count += 1
        return entry
