"""The file by which apps find the daemon: private, whole, and believed only while its process lives."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from autotune.errors import StoreError
from autotune.planner.daemon.state import FILE_NAME, Listening, read_state, remove_state, write_state
from autotune.store.places import state_dir

STARTED = "2026-11-22T12:00:00+00:00"
OURS = Listening(url="http://127.0.0.1:8377", pid=os.getpid(), started=STARTED)


@pytest.fixture
def file() -> Path:
    return state_dir() / FILE_NAME


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_is_written_is_read() -> None:
    assert read_state() is None
    write_state(OURS)
    assert read_state() == OURS
    remove_state(OURS.pid)
    assert read_state() is None


def test_the_file_is_private_and_alone(file: Path) -> None:
    old_umask = os.umask(0)
    try:
        write_state(OURS)
        write_state(OURS)
    finally:
        os.umask(old_umask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == [FILE_NAME]


def test_a_dead_daemon_is_not_believed_and_replaced(dead_pid: int) -> None:
    write_state(OURS.model_copy(update={"pid": dead_pid}))
    assert read_state() is None
    write_state(OURS)
    assert read_state() == OURS


def test_only_the_own_file_is_removed(file: Path) -> None:
    write_state(OURS.model_copy(update={"pid": 1}))
    remove_state(OURS.pid)
    assert file.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "\x00\xff",
        "{}",
        "9" * 100_000,
        json.dumps({"url": "http://evil.example:80", "pid": os.getpid(), "started": STARTED}),
        json.dumps({"url": "http://127.0.0.1:80@evil.example", "pid": os.getpid(), "started": STARTED}),
        json.dumps({"url": "file:///etc/passwd", "pid": os.getpid(), "started": STARTED}),
        json.dumps({"url": "http://127.0.0.1:80", "pid": -1, "started": STARTED}),
        json.dumps({"url": "http://127.0.0.1:80", "pid": 10**30, "started": STARTED}),
    ],
    ids=range(11),  # the same in every process that runs tests
)
def test_nonsense_is_no_daemon(file: Path, text: str) -> None:
    file.write_text(text, encoding="latin-1")
    assert read_state() is None
    remove_state(os.getpid())
    assert file.exists()


def test_no_folder_is_made_by_reading(tmp_path: Path) -> None:
    assert read_state() is None
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "url", ["http://192.168.1.7:8377", "http://0.0.0.0:8377", "https://127.0.0.1:8377", "http://127.0.0.1"]
)
def test_a_daemon_is_on_this_machine(url: str) -> None:
    with pytest.raises(ValidationError):
        Listening(url=url, pid=1, started=STARTED)


def test_a_folder_that_cannot_be_written_to_is_said(file: Path) -> None:
    file.mkdir()
    with pytest.raises(StoreError, match=r"cannot be written to .*AUTOTUNE_HOME"):
        write_state(OURS)
    assert [each.name for each in file.parent.iterdir()] == [FILE_NAME]
