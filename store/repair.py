"""Bringing a damaged store back: what is sound in it, together with what its newest sound copy has."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..errors import StoreError
from ..search.plan import Plan
from ..value import Value
from .backups import copies_of
from .checks import has_content, structural_damage
from .connection import connect_to_read, connect_to_write, disconnect, writing
from .rows import IDENTITY, Row, run_row, sound
from .run import Run
from .sentences import DamagedError, primary_code, sentences
from .store import TABLES, Store

Rows = dict[str, dict[tuple[Any, ...], Row]]
"""The sound rows of each table, by what they are of."""


class Repaired(Value):
    """What a repair did.

    set_aside: where the damaged file lies now; empty where there was none. copy: the copy that helped; empty where
    none did. kept: sound rows of the damaged file, by table; put_back: those that only the copy had. lost: in
    sentences, what neither has.
    """

    set_aside: str
    copy_used: str
    kept: dict[str, int]
    put_back: dict[str, int]
    lost: tuple[str, ...]


def damage_of(path: Path, *, wait_s: float = 5.0) -> tuple[str, ...]:
    """Return in sentences what is damaged, also where all of it is, or it is gone; nothing where it is sound.

    Raises StoreError where that cannot be said: of another program's file, one of a newer autotune, or in use.
    """
    if not path.exists():
        return (f"{path} is not there, and copies of it are.",) if copies_of(path) else ()
    try:
        with Store.read(path, wait_s=wait_s) as store:
            return store.damage
    except DamagedError as error:
        return (str(error),)


def newest_sound_copy(path: Path) -> Path | None:
    """Return the newest copy in which nothing is damaged."""
    for copy in copies_of(path):
        with suppress(StoreError):
            if has_content(copy) and not damage_of(copy):
                return copy
    return None


def repair(path: Path, *, wait_s: float = 5.0) -> Repaired | None:
    """Put a sound store in the place of a damaged one, and return what that cost; None where nothing is damaged.

    The damaged file is kept beside it. Nobody should be tuning meanwhile; reports of apps wait, or are refused.

    Raises StoreError where it is no store of ours, one of a newer autotune or in use, and where there is no room; then
    it is as it was.
    """
    if not damage_of(path, wait_s=wait_s):
        return None
    fresh = path.with_name(f".{path.name}.repairing")
    with sentences(path), _held(path, wait_s):
        for left in (fresh, *_journals(fresh)):  # by a repair that was killed
            left.unlink(missing_ok=True)
        ours, unreadable, damaged = _salvaged(path)
        copy = newest_sound_copy(path)
        copied = _salvaged(copy)[0] if copy else {}
        merged, put_back = _merged(ours, copied, {*unreadable, *damaged})
        if merged.get("runs"):
            _write(fresh, merged)
        aside = _set_aside(path)
        if merged.get("runs"):
            fresh.replace(path)
        else:
            path.unlink(missing_ok=True)
        _sync_folder(path.parent)
    return Repaired(
        set_aside=str(aside or ""),
        copy_used=str(copy) if copy and put_back else "",
        kept={table: len(rows) for table, rows in ours.items() if rows},
        put_back=put_back,
        lost=tuple(_losses(unreadable, damaged, put_back, copy)),
    )


@contextmanager
def _held(path: Path, wait_s: float) -> Iterator[None]:
    """Keep others from writing, as far as the file is sound enough to be locked."""
    if not has_content(path):
        yield
        return
    with closing(sqlite3.connect(path, timeout=wait_s, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            if primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise
        yield


def _salvaged(path: Path) -> tuple[Rows, list[str], dict[str, int]]:
    """Return the sound rows of a file, the tables that may have had more, and how many rows of each were damaged."""
    rows: Rows = {table: {} for table in TABLES}
    damaged: dict[str, int] = {}
    try:
        if not has_content(path):
            return rows, list(TABLES), damaged
        connection = connect_to_read(path)
    except StoreError:
        return rows, list(TABLES), damaged
    with closing(connection):
        unreadable = list(TABLES) if structural_damage(connection, path) else []
        for table, kind in TABLES.items():
            for row in _readable(connection, table):
                if sound(row, kind):
                    rows[table][tuple(row[name] for name in IDENTITY[table])] = row
                else:
                    damaged[table] = damaged.get(table, 0) + 1
    return rows, unreadable, damaged


def _readable(connection: sqlite3.Connection, table: str) -> list[Row]:
    """Return the rows of a table up to a damaged page, and those after it from the end."""
    found: dict[Any, Row] = {}
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.DatabaseError, UnicodeDecodeError):  # also where an older version has no such table
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY kept {order}"):  # noqa: S608  our own names
                found[row["kept"]] = dict(row)
    return [found[number] for number in sorted(found)]


def _merged(ours: Rows, copied: Rows, needed: Collection[str]) -> tuple[Rows, dict[str, int]]:
    """Return the rows of both, in their order, and how many of each table only the copy had.

    Only the tables in `needed` take anything from the copy. A trial is a fact for ever. Plans are replaced when their
    run goes on, so the copy's count only where it has the run as it is here, or the run is not here at all.
    """
    gone = {name for name in ours.get("runs", {}) if copied.get("runs", {}).get(name) != ours["runs"][name]}
    merged: Rows = {table: dict(rows) for table, rows in ours.items()}
    put_back: dict[str, int] = {}
    for table in (name for name in TABLES if name in needed):
        for name, row in copied.get(table, {}).items():
            outdated = table == "plans" and (row["run_id"],) in gone
            if name not in merged[table] and not outdated:
                merged[table][name] = row
                put_back[table] = put_back.get(table, 0) + 1
    _remember_runs(merged)
    for table, rows in merged.items():
        known = [(name, row) for name, row in rows.items() if (row.get("run_id", ""),) in {("",), *merged["runs"]}]
        merged[table] = dict(sorted(known, key=lambda item: item[1]["kept"]))
    return merged, put_back


def _remember_runs(merged: Rows) -> None:
    """Make up for the runs whose row is in neither, from what their plans say."""
    for row in merged["plans"].values():
        if (row["run_id"],) not in merged["runs"]:
            plan = Plan.model_validate_json(str(row["document"]))
            state: Literal["unfinished", "finished"] = "unfinished" if row["provisional"] else "finished"
            run = Run(id=plan.run, scope=plan.scope, state=state, started_at=plan.created_at, reason="repaired")
            merged["runs"][(run.id,)] = {"kept": len(merged["runs"]) + 1, **run_row(run)}


def _write(path: Path, rows: Rows) -> None:
    from sqlite_utils import Database

    from .migrations import bring_up_to_date

    connection = connect_to_write(path, wait_s=0)
    try:
        db = Database(connection, recursive_triggers=False, execute_plugins=False)
        bring_up_to_date(db, path)
        with writing(db, path):
            for table, content in rows.items():
                for row in content.values():
                    db.table(table).insert({name: value for name, value in row.items() if name != "kept"})
    finally:
        disconnect(connection)
    if damage := damage_of(path):
        raise StoreError(f"What was saved of {path} cannot be kept: {damage[0]}")


def _set_aside(path: Path) -> Path | None:
    """Give the damaged file a second name, and its journals too: those must not be taken for the fresh file's."""
    if not path.exists():
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    os.link(path, aside)
    for journal, its in zip(_journals(path), _journals(aside), strict=True):
        if journal.exists():
            journal.rename(its)
    return aside


def _journals(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in ("-journal", "-wal")]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _losses(
    unreadable: list[str], damaged: dict[str, int], put_back: dict[str, int], copy: Path | None
) -> Iterator[str]:
    for table, count in damaged.items():
        lost = count - put_back.get(table, 0)
        if lost > 0:
            yield f"{lost} of the {table} are lost: their rows were damaged, and no copy has them."
    if unreadable:
        since = f"what was written after the copy {copy.name}" if copy else "the rest, as there is no sound copy,"
        yield f"Not all of the {', '.join(unreadable)} could be read: {since} is lost."
