"""Connections to the file of the store: one that makes commits last, one that writes nothing at all.

Plain sqlite3, because sqlite-utils takes a quarter of a second to import: an app that only asks for its plan reads the
store, and does not wait for that.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import StoreError
from .sentences import primary_code, sentences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlite_utils import Database

# In an older SQLite, two connections that write and checkpoint at the same moment may corrupt a file in WAL mode.
# Source: sqlite.org/wal.html, section "The WAL-Reset Bug".
WAL_IS_SAFE = sqlite3.sqlite_version_info >= (3, 51, 3)


def connect_to_write(path: Path, *, wait_s: float, wal: bool = WAL_IS_SAFE) -> sqlite3.Connection:
    """Return a connection whose commits are on the disk when they return, and stay there through a power cut.

    The file is made where it is missing, for its owner only. Raises StoreError.
    """
    with sentences(path):
        _make_file(path)
        connection = _ours(sqlite3.connect(path, timeout=wait_s))
        try:
            connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
            # with a journal that is deleted, FULL does not sync the folder: after a power cut it might be there again,
            # and undo the last commit. Source: sqlite.org/pragma.html#pragma_synchronous
            connection.execute(f"PRAGMA synchronous = {'FULL' if wal else 'EXTRA'}")
            connection.execute("PRAGMA foreign_keys = ON")
            # a replaced row is overwritten, so that no damage elsewhere in the file can bring it back
            connection.execute("PRAGMA secure_delete = ON")
        except BaseException:
            connection.close()
            raise
        return connection


def connect_to_read(path: Path, *, wait_s: float = 5.0) -> sqlite3.Connection:
    """Return a connection to an existing file that writes nothing, not even in its folder. Raises StoreError."""
    with sentences(path):
        connection = _ours(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=wait_s))
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # the first look at the file itself
        except sqlite3.DatabaseError as error:
            connection.close()
            if primary_code(error) not in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
                raise
            return _recovered(path)
        return connection


def disconnect(connection: sqlite3.Connection) -> None:
    """Close it, and leave one plain file behind if nobody else is connected: that can be read in any folder."""
    with closing(connection), suppress(sqlite3.OperationalError):  # where others are connected, the last one does it
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA journal_mode = DELETE")


@contextmanager
def writing(db: Database, path: Path) -> Iterator[Database]:
    """One transaction, committed at the end or undone. It waits for other writers before it begins, not half way.

    `Database.atomic` alone begins without the writer's lock. Of two processes that first look and then write, both
    would look, and one would fail without having waited.
    """
    with sentences(path):
        db.execute("BEGIN IMMEDIATE")
        try:
            with db.atomic():
                yield db
            db.commit()
        except BaseException:
            db.rollback()
            raise


def _make_file(path: Path) -> None:
    # only where there is none: to open and close a file drops all locks that this process has on it, SQLite's too
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    if not os.access(path, os.W_OK):  # SQLite would open it for reading, and fail at the first trial to be kept
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _ours(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.row_factory = sqlite3.Row
    connection.text_factory = _text
    return connection


def _text(content: bytes) -> str:
    return content.decode(errors="replace")  # one damaged text must not keep the other rows from being read


def _recovered(path: Path) -> sqlite3.Connection:
    """Return the last committed state in memory, for a file that cannot be read without writing to it first.

    Such a one is left behind by a writer that was killed in the middle of a commit: whoever comes next has to undo
    that, or to finish it. Here that is done to a copy.
    """
    beside = (path.with_name(path.name + journal) for journal in ("-journal", "-wal"))
    with TemporaryDirectory(prefix="autotune-") as folder:
        # copied by another process, because this one may have locks on the file, which reading it here would drop
        copying = ["cp", "--", str(path), *(str(file) for file in beside if file.exists()), folder]
        if subprocess.run(copying, capture_output=True, check=False).returncode:
            raise StoreError(f"{path} cannot be read: check its permissions, or try again if it is being written to.")
        memory = _ours(sqlite3.connect(":memory:"))
        with closing(sqlite3.connect(Path(folder) / path.name)) as source:
            source.backup(memory)
        return memory
