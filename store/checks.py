"""What the file of the store is, before anything is asked of it or written to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from ..errors import StoreError
from .connection import connect_to_read
from .sentences import DamagedError, damaged, primary_code, sentences

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x61757475  # "autu": how `file` and we tell a store from any other SQLite database
SCHEMA_VERSION = 3  # what the last of the migrations leaves in PRAGMA user_version

_COLUMNS = {
    "machines": "kept fingerprint document sha256",
    "runs": "kept id scope_key model document sha256",
    "trials": "kept run_id recipe_key document sha256",
    "plans": "kept run_id recipe_key model provisional document sha256",
    "outcomes": "kept id plan_id ending document sha256",
    "jobs": "kept id document sha256",
    "_sqlite_migrations": "id migration_set name applied_at",
}
"""What the last of the migrations leaves: the names lie in the file as text, and can be damaged as any other."""


def has_content(path: Path) -> bool:
    """Return whether there is a file with something in it; raises StoreError if a folder is in its place."""
    with sentences(path):
        if path.is_dir():
            raise StoreError(f"{path} is a folder, where the file of the store should be: move it away.")
        return path.exists() and path.stat().st_size > 0


def emptiness(path: Path) -> str:
    """Return a sentence on a file without a single byte, or an empty one. SQLite takes it for a new database."""
    with sentences(path):
        if not path.is_file() or path.stat().st_size:
            return ""
    return f"{path} had not a single byte: it was never finished, or its content is lost; look for a copy of it."


def known_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the tables, 0 where there are none; raises StoreError if they are not ours, or too new."""
    with sentences(path):
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        kind = connection.execute("PRAGMA application_id").fetchone()[0]
        version = schema_version(connection)
    if not tables:
        return 0
    if kind != APPLICATION_ID:
        raise StoreError(f"{path} is an SQLite database, but not a store of autotune: move it away, or name another.")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer autotune (its tables are of version {version}, this one knows up to "
            f"{SCHEMA_VERSION}) and was left as it is: upgrade autotune, or set AUTOTUNE_HOME to another folder."
        )
    if version < 1 or (version == SCHEMA_VERSION and not _has_its_columns(connection, path)):
        raise DamagedError(damaged(path, "its tables are not those of any version"))
    return version


def check_before_writing(path: Path, *, wait_s: float) -> None:
    """Raise StoreError, without touching the file, unless it is a store of ours that is sound in its structure."""
    with closing(connect_to_read(path, wait_s=wait_s)) as connection:
        known_version(connection, path)
        damage = structural_damage(connection, path)
    if damage:
        raise DamagedError(damage)


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the version of the tables; 0 is a file without any."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def structural_damage(connection: sqlite3.Connection, path: Path) -> str:
    """Return a sentence on what SQLite finds wrong with the file, or an empty one. It does not see changed contents."""
    with sentences(path):
        try:
            verdict = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
        except sqlite3.DatabaseError as error:
            if primary_code(error) != sqlite3.SQLITE_CORRUPT:
                raise
            verdict = str(error)
    return "" if verdict == "ok" else damaged(path, verdict)


def _has_its_columns(connection: sqlite3.Connection, path: Path) -> bool:
    with sentences(path):
        found = {table: connection.execute(f"PRAGMA table_info({table})").fetchall() for table in _COLUMNS}
    names = {table: " ".join(column["name"] for column in columns) for table, columns in found.items()}
    return names == _COLUMNS and all(columns[0]["type"] == "INTEGER" for columns in found.values())
