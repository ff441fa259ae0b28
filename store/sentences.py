"""What the system and SQLite say about the file of the store, as sentences that a user can act upon."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class DamagedError(StoreError):
    """The file is one of ours, or was, and SQLite cannot trust it: `repair` may help, and nothing else does."""


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Turn the errors of the file at `path` into StoreError; those that are mistakes of our own pass."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be used ({error.strerror}): check the path and its permissions.") from error
    except sqlite3.DatabaseError as error:
        if primary_code(error) is None:
            raise
        raise _error(error, path) from error
    except UnicodeDecodeError as error:  # sqlite3 chokes on what SQLite quotes from the file
        raise DamagedError(damaged(path, "there is no text where there was one")) from error


def primary_code(error: sqlite3.Error) -> int | None:
    """Return SQLite's code without its subdivisions, or None for Python's own errors, such as a closed connection.

    Source: sqlite.org/rescode.html, section "Primary Result Codes versus Extended Result Codes".
    """
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def damaged(path: Path, finding: str) -> str:
    """Return the sentence on a file that SQLite cannot trust, with the way out."""
    return f"{path} is damaged ({' '.join(finding.split())}): run `autotune doctor --repair`."


def backups_folder(path: Path) -> Path:
    """Return the folder of the copies that are made of the file."""
    return path.parent / "backups"


def _error(error: sqlite3.DatabaseError, path: Path) -> StoreError:
    if primary_code(error) in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return DamagedError(damaged(path, str(error)))
    return StoreError(_sentence(error, path))


def _sentence(error: sqlite3.DatabaseError, path: Path) -> str:
    match primary_code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{path} is in use by another process, and waiting did not help: try again when that is done."
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return (
                f"{path} could not be written or read ({error}): make sure that its disk works and has free space, "
                f"and try again; what was kept before is still there."
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"{path} cannot be opened ({error}): check the permissions of the file and of its folder."
        case _:
            return f"{path} could not be used ({error})."
