"""Where files are kept: each kind in the place that the system has for it, or all below $AUTOTUNE_HOME."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import platformdirs

from ..errors import StoreError


def data_dir(*, make: bool = True) -> Path:
    """Return the folder of what is precious: the store and its backups.

    make: make the folder where it is missing, readable by its owner only. Without it nothing is touched or checked.

    Raises StoreError if the folder cannot be made or written to.
    """
    return _place("data", platformdirs.user_data_path("autotune", appauthor=False), make=make)


def state_dir(*, make: bool = True) -> Path:
    """Return the folder of what outlives a restart but may be lost: locks, logs, a token. Else as `data_dir`."""
    return _place("state", platformdirs.user_state_path("autotune", appauthor=False), make=make)


def cache_dir(*, make: bool = True) -> Path:
    """Return the folder of what can be made again: compiled code, answers of probes. Else as `data_dir`."""
    return _place("cache", platformdirs.user_cache_path("autotune", appauthor=False), make=make)


def config_dir(*, make: bool = True) -> Path:
    """Return the folder of what the user writes: models of their own. Else as `data_dir`."""
    return _place("config", platformdirs.user_config_path("autotune", appauthor=False), make=make)


def make_folder(folder: Path) -> None:
    """Make `folder` where it is missing (mode 0700), and make sure that it can be written to; raises StoreError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(f"{folder} cannot be a folder, because a file is in its way: {_MOVE}.") from error
    except OSError as error:
        raise StoreError(f"{folder} cannot be made ({error.strerror}): {_ELSEWHERE}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"{folder} cannot be written to: change its permissions, or {_ELSEWHERE}.")


def write_whole(file: Path, content: bytes) -> None:
    """Write a file as a whole or not at all: who reads it meanwhile has the old one. Raises StoreError."""
    unfinished = file.with_name(f".{secrets.token_hex(8)}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        msg = f"{file} cannot be written ({error.strerror}): make room, or set AUTOTUNE_HOME."
        raise StoreError(msg) from error


_ELSEWHERE = "set AUTOTUNE_HOME to a folder that you can write to"
_MOVE = f"move that file away, or {_ELSEWHERE}"


def _place(kind: str, usual: Path, *, make: bool) -> Path:
    home = os.environ.get("AUTOTUNE_HOME")
    folder = Path(home).expanduser().absolute() / kind if home else usual
    if make:
        make_folder(folder)
    return folder
