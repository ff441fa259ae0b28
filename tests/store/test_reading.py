"""Reading leaves no trace, and works where nothing can be written."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotune.errors import StoreError
from autotune.store.connection import connect_to_read, connect_to_write, disconnect
from autotune.store.store import Store

from .child import start
from .samples import MACHINE, SCOPE, plan, trial

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a store with one run, one trial and one plan."""
    path = tmp_path / "data" / "autotune.db"
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=False)
        store.keep_trial(run.id, trial(0))
        store.finish_run(run.id, "budget used up", [plan(1, run.id)], finished=True)
    shutil.rmtree(path.parent / "backups")
    return path


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Return a folder that any user can reach, but only its owner change."""
    with tempfile.TemporaryDirectory(prefix="autotune-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}


def seen_without_rights(path: Path) -> list[str]:
    """Return what a user without rights is told who reads the store, and then tries to write it."""
    with start("look", path) as child:
        lines = child.communicate()[0].splitlines()
    assert child.returncode == 0
    return lines


def test_a_store_is_made_for_its_owner_only(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_without_a_path_it_is_the_one_in_the_data_folder(tmp_path: Path, path: Path) -> None:
    assert path == tmp_path / "data" / "autotune.db"
    with Store.read() as reading, Store.open() as writing:
        assert reading.path == writing.path == path


def test_where_there_is_no_file_the_store_is_empty_and_none_is_made(tmp_path: Path) -> None:
    with Store.read() as store:
        assert (store.runs(), store.plans("shapes"), store.trials("x"), store.plans_of("x")) == ((), (), (), ())
        assert store.machine(MACHINE.fingerprint) is None
        assert store.damage == ()

    assert not list(tmp_path.iterdir())


def test_a_file_without_tables_yet_is_an_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    disconnect(connect_to_write(path, wait_s=1, wal=True))
    assert path.stat().st_size

    with Store.read(path) as store:
        assert store.runs() == ()
    with Store.open(path) as store:
        assert store.begin_run(SCOPE, MACHINE, fresh=False).state == "new"


def test_reading_changes_nothing(path: Path) -> None:
    before = state_of(path.parent)

    with Store.read(path) as store:
        assert store.runs()[0].trials == (trial(0),)
        assert store.plans("shapes") == (plan(1, store.runs()[0].id),)
        assert store.machine(MACHINE.fingerprint) == MACHINE
        assert store.damage == ()
        with pytest.raises(StoreError, match=r"is closed, or open for reading only: open it with Store\.open to"):
            store.begin_run(SCOPE, MACHINE, fresh=False)

    assert state_of(path.parent) == before


def test_reading_goes_on_while_another_writes(path: Path) -> None:
    with Store.open(path) as writer, Store.read(path) as reader:
        run = writer.begin_run(SCOPE, MACHINE, fresh=True)
        writer.keep_trial(run.id, trial(7))
        assert reader.trials(run.id) == (trial(7),)


def test_reading_does_not_wait_for_the_import_of_sqlite_utils(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from autotune.store.store import Store\n"
        "with Store.read(Path(sys.argv[1])) as store: assert store.plans('shapes')\n"
        "print({'sqlite_utils', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_reading_works_in_a_folder_that_is_read_only(path: Path, public_folder: Path) -> None:
    copy = Path(shutil.copy(path, public_folder))
    copy.chmod(0o644)

    read, refused = seen_without_rights(copy)

    assert read == "read 1 0"
    assert refused.startswith(f"refused {public_folder} cannot be written to: change its permissions, or set AUTOTUNE")


def test_a_file_that_may_not_be_written_is_said(path: Path, public_folder: Path) -> None:
    copy = Path(shutil.copy(path, public_folder))
    copy.chmod(0o444)
    public_folder.chmod(0o777)

    read, refused = seen_without_rights(copy)

    assert read == "read 1 0"
    assert refused == f"refused {copy} cannot be used (Permission denied): check the path and its permissions."


def test_a_file_that_may_not_be_read_is_said(path: Path, public_folder: Path) -> None:
    copy = Path(shutil.copy(path, public_folder))
    copy.chmod(0)
    public_folder.chmod(0o777)

    said = f"refused {copy} cannot be opened (unable to open database file): check the permissions of the file"

    assert seen_without_rights(copy) == [f"{said} and of its folder."] * 2


def test_a_folder_that_may_not_be_entered_is_said(path: Path, public_folder: Path) -> None:
    copy = Path(shutil.copy(path, public_folder))
    public_folder.chmod(0o700)

    read, _ = seen_without_rights(copy)

    assert read == f"refused {copy} cannot be used (Permission denied): check the path and its permissions."


def test_a_half_written_file_is_read_as_it_was_before(path: Path, public_folder: Path) -> None:
    with Store.read(path) as store:
        before = store.runs(), store.plans("shapes")
    with start("die", path) as child:
        child.communicate()
    left = state_of(path.parent)
    assert set(left) == {"autotune.db", "autotune.db-journal"}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as raw, pytest.raises(sqlite3.OperationalError):
        raw.execute("SELECT * FROM trials")  # half written indeed: somebody has to undo it first

    with Store.read(path) as store:
        assert (store.runs(), store.plans("shapes")) == before
        assert store.damage == ()
    assert state_of(path.parent) == left
    for name in left:
        Path(shutil.copy(path.parent / name, public_folder)).chmod(0o644)
    assert seen_without_rights(public_folder / path.name)[0] == "read 1 0"

    with Store.open(path) as store:
        assert (store.runs(), store.plans("shapes")) == before
    assert set(state_of(path.parent)) == {"autotune.db"}


def in_wal_mode(path: Path) -> bool:
    """Source: sqlite.org/fileformat.html, section 1.3.3 "File format version numbers"."""
    return path.read_bytes()[18:20] == b"\2\2"


def test_in_wal_mode_too_one_plain_file_is_left_behind(path: Path) -> None:
    connection = connect_to_write(path, wait_s=1, wal=True)
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    connection.execute("UPDATE machines SET sha256 = ''")
    connection.commit()
    before = set(path.parent.iterdir())
    with Store.read(path) as store:
        assert store.damage == (f"Row 1 of the machines in {path} is damaged: it is left out.",)
    assert set(path.parent.iterdir()) == before
    assert in_wal_mode(path)

    disconnect(connection)

    assert not in_wal_mode(path)
    assert list(path.parent.iterdir()) == [path]


def test_wal_mode_stays_while_another_is_connected(path: Path) -> None:
    connection = connect_to_write(path, wait_s=1, wal=True)
    with closing(connect_to_read(path)) as reader:
        disconnect(connection)
        assert reader.execute("SELECT count(*) FROM plans").fetchone()[0] == 1

    with Store.open(path) as store:
        assert len(store.plans("shapes")) == 1
    assert not in_wal_mode(path) or sqlite3.sqlite_version_info >= (3, 51, 3)


def test_a_file_left_in_wal_mode_is_read_in_a_read_only_folder(path: Path, public_folder: Path) -> None:
    connection = connect_to_write(path, wait_s=1, wal=True)
    connection.execute("UPDATE machines SET sha256 = ''")
    connection.commit()
    for name in ("autotune.db", "autotune.db-wal"):  # as a kill would leave them, on another machine perhaps
        Path(shutil.copy(path.parent / name, public_folder)).chmod(0o644)
    connection.close()

    assert seen_without_rights(public_folder / path.name)[0] == "read 1 1"
