"""Where the daemon says that it lives: a small file that apps read, so that they need not try ports."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from pydantic import Field, ValidationError

from ...errors import StoreError
from ...store.places import state_dir
from ...value import Value
from .address import LOOPBACK_URL, UNIX

FILE_NAME = "daemon.json"
MOST_BYTES = 4096


class Listening(Value):
    """A daemon: where it listens, and since when (UTC, ISO 8601). socket: the path of one, empty without."""

    url: str = Field(pattern=LOOPBACK_URL)
    socket: str = Field(default="", pattern=r"^(/[^\x00]*)?$")
    pid: int = Field(ge=1)
    started: str

    @property
    def address(self) -> str:
        """Where programs ask: at the socket if there is one, which no other user can have put there."""
        return UNIX + self.socket if self.socket else self.url


def read_state() -> Listening | None:
    """Return the daemon whose process lives, or None: there is none, it has died, or the file makes no sense."""
    try:
        with _file().open("rb") as file:
            listening = Listening.model_validate_json(file.read(MOST_BYTES))
    except (OSError, ValidationError):
        return None
    return listening if _is_alive(listening.pid) else None


def write_state(listening: Listening) -> None:
    """Say that a daemon lives, in the place of whoever said so before. Raises StoreError.

    The file is there as a whole or not at all, and readable by its owner only.
    """
    folder = state_dir()
    unfinished = folder / f".{FILE_NAME}.{secrets.token_hex(8)}"
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(listening.model_dump_json(exclude_defaults=True))
        unfinished.replace(folder / FILE_NAME)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise StoreError(
            f"{folder} cannot be written to ({error.strerror}): make room, or set AUTOTUNE_HOME."
        ) from error


def remove_state(pid: int) -> None:
    """Take back what `write_state` said, unless another daemon has said something since."""
    with suppress(OSError, ValidationError):
        if Listening.model_validate_json(_file().read_bytes()).pid == pid:
            _file().unlink()


def _file() -> Path:
    return state_dir(make=False) / FILE_NAME


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
