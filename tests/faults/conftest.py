"""What these tests share: the shim, compiled once, and a stage whose processes write through it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from .shim import Stage, built, staged


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim."""
    return built(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: there, waiting for the disk takes no time, and the writes are the same."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of a random name in it
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory, prefix="autotune-test-") as name:
        yield Path(name)


@pytest.fixture
def stage(library: Path, folder: Path) -> Iterator[Stage]:
    """A stage for stores below that folder."""
    with staged(library, folder) as running:
        yield running


@pytest.fixture
def homes(folder: Path) -> Callable[[], Path]:
    """Gives the path for a store in a fresh folder, and removes the one before it."""
    numbers = count()

    def fresh() -> Path:
        number = next(numbers)
        shutil.rmtree(folder / f"home-{number - 1}", ignore_errors=True)
        (folder / f"home-{number}").mkdir()
        return folder / f"home-{number}" / "autotune.db"

    return fresh
