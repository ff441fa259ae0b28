"""The tables, as a list of changes. A change that was released is never edited: the next one follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Migrations

from .backups import back_up
from .checks import APPLICATION_ID, schema_version
from .connection import writing
from .sentences import sentences

if TYPE_CHECKING:
    from pathlib import Path

    from sqlite_utils import Database

MIGRATIONS = Migrations("autotune")


@MIGRATIONS()
def version_1(db: Database) -> None:
    """Machines, runs, trials and plans. `kept` numbers the rows of a table in the order in which they were written."""
    for statement in (
        """CREATE TABLE machines (
            kept INTEGER PRIMARY KEY,
            fingerprint TEXT NOT NULL UNIQUE,
            document TEXT NOT NULL,
            sha256 TEXT NOT NULL
        )""",
        """CREATE TABLE runs (
            kept INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            scope_key TEXT NOT NULL,
            model TEXT NOT NULL,
            document TEXT NOT NULL,
            sha256 TEXT NOT NULL
        )""",
        """CREATE TABLE trials (
            kept INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL REFERENCES runs (id),
            recipe_key TEXT NOT NULL,
            document TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            UNIQUE (run_id, recipe_key)
        )""",
        """CREATE TABLE plans (
            kept INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL REFERENCES runs (id),
            recipe_key TEXT NOT NULL,
            model TEXT NOT NULL,
            provisional INTEGER NOT NULL,
            document TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            UNIQUE (run_id, recipe_key)
        )""",
        f"PRAGMA application_id = {APPLICATION_ID}",
        "PRAGMA user_version = 1",
    ):
        db.execute(statement)


@MIGRATIONS()
def version_2(db: Database) -> None:
    """What apps say of their plans: `ending` is how a call ended."""
    for statement in (
        """CREATE TABLE outcomes (
            kept INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            plan_id TEXT NOT NULL,
            ending TEXT NOT NULL,
            document TEXT NOT NULL,
            sha256 TEXT NOT NULL
        )""",
        "PRAGMA user_version = 2",
    ):
        db.execute(statement)


@MIGRATIONS()
def version_3(db: Database) -> None:
    """Jobs of the daemon."""
    for statement in (
        """CREATE TABLE jobs (
            kept INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            document TEXT NOT NULL,
            sha256 TEXT NOT NULL
        )""",
        "PRAGMA user_version = 3",
    ):
        db.execute(statement)


def bring_up_to_date(db: Database, path: Path, migrations: Migrations = MIGRATIONS) -> None:
    """Apply the changes that are pending, all or none, after a backup of what was there.

    Raises StoreError if the backup or the changes cannot be written; then the file is as it was.
    """
    with sentences(path):
        pending = migrations.pending(db)
    if not pending:
        return
    with writing(db, path):  # from here on nobody else migrates, and the backup reads what was committed before
        version = schema_version(db.conn)
        if version and migrations.pending(db):
            back_up(path, version)
        migrations.apply(db)
