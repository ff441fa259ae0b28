"""The token: who knows it may change something. It lies in a file that only the user of the daemon can read."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import StoreError
from ...store.places import state_dir

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "token"
MOST_BYTES = 200
LEAST_CHARACTERS = 32


def make_token() -> str:
    """Return the token of this user, made where there is none. It outlives the daemon, so that apps may keep it.

    Raises StoreError if the file cannot be written, and if others can read it: then the token is no secret.
    """
    file = state_dir() / FILE_NAME
    with suppress(FileExistsError):
        _write(file)
    known = read_token()
    if len(known) < LEAST_CHARACTERS:
        raise StoreError(f"{file} holds no token: remove the file, and a new one is made.")
    if file.stat().st_mode & 0o077:
        raise StoreError(f"{file} can be read by other users, so it is no secret: remove the file, and start again.")
    return known


def read_token() -> str:
    """Return the token of this user; empty where there is none, or it cannot be read."""
    try:
        with (state_dir(make=False) / FILE_NAME).open(encoding="ascii") as file:
            return file.read(MOST_BYTES).strip()
    except (OSError, ValueError):
        return ""


def _write(file: Path) -> None:
    """Write a new token, as a whole or not at all. Raises FileExistsError where there is one, and StoreError."""
    unfinished = file.with_name(f".{FILE_NAME}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(secrets.token_urlsafe(32) + "\n")
        os.link(unfinished, file)  # unlike a rename, this fails where another daemon was faster
    except FileExistsError:
        raise
    except OSError as error:
        raise StoreError(f"{file} cannot be written ({error.strerror}): make room, or set AUTOTUNE_HOME.") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()
