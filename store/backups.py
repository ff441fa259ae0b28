"""Copies of the store: each whole and checked, the newest few kept. What a repair goes back to."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .connection import connect_to_read
from .places import make_folder
from .sentences import backups_folder, sentences

if TYPE_CHECKING:
    from pathlib import Path

BACKUPS_KEPT = 5

_NUMBERED = re.compile(r"-(\d{6})-\d{8}T")


def back_up(path: Path, version: int) -> Path:
    """Copy what is committed in the store at `path`, and forget the oldest copies; return the copy.

    Call it while nobody else can: in a transaction. Copies are numbered, because the clock may go back, and the newest
    would then be taken for the oldest. Raises StoreError; then no copy has changed.
    """
    folder = backups_folder(path)
    make_folder(folder)
    made_at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    before = copies_of(path)
    final = folder / f"{path.stem}-{_number(before[0]) + 1 if before else 1:06d}-{made_at}-v{version}.db"
    unfinished = final.with_suffix(".part")
    with sentences(unfinished):
        for abandoned in folder.glob(f"{path.stem}-*.part"):  # by a process that was killed
            abandoned.unlink()
        try:
            os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL, 0o600))
            with closing(connect_to_read(path)) as source, closing(sqlite3.connect(unfinished)) as target:
                source.backup(target)
            unfinished.replace(final)
        finally:
            unfinished.unlink(missing_ok=True)
        for old in before[BACKUPS_KEPT - 1 :]:
            old.unlink(missing_ok=True)
    return final


def copies_of(path: Path) -> list[Path]:
    """Return the copies of the store at `path`, the newest first."""
    found = backups_folder(path).glob(f"{path.stem}-*.db")
    return sorted(found, key=lambda copy: (_number(copy), copy.name), reverse=True)


def _number(copy: Path) -> int:
    found = _NUMBERED.search(copy.name)
    return int(found[1]) if found else 0
