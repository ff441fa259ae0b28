"""Where files are unpacked to: a folder of autotune's cache for each file, and in it one for what the file is now."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ...store.places import cache_dir
from ...value import key_of

if TYPE_CHECKING:
    from .header import Header

ORIGIN = "unpacked.json"
"""Beside the folder: which file it was unpacked from."""


def place_of(header: Header, base_revision: str) -> Path:
    """Return the folder that a file is unpacked to, whether it is there or not; its name is the file's.

    base_revision: that of the folder from which it has its configurations.
    """
    mine = cache_dir(make=False) / "unpacked" / key_of(str(header.file))
    return mine / key_of([header.digest, base_revision]) / header.file.name


def origin_of(folder: Path) -> str:
    """Return the file that a folder was unpacked from, empty for any other folder."""
    if folder.is_relative_to((cache_dir(make=False) / "unpacked").resolve()):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads((folder.parent / ORIGIN).read_text(encoding="utf-8"))["file"])
    return ""
