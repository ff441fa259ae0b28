"""The kernel's small files, read without ever raising: what is not there reads as empty.

Every probe of a file takes a `root`, so that a test can hand it a folder that looks like another machine.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/")


def text_of(path: Path) -> str:
    """Return the file's text, or "" where there is none to read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):  # ValueError: a NUL in the path, which came out of another file
        return ""


def int_of(text: str) -> int | None:
    """Return the number that `text` is, or None where it is none (the kernel also writes "max")."""
    try:
        return int(text)
    except ValueError:
        return None


def under(root: Path, path: str) -> Path:
    """Return the absolute `path` as it lies under `root`."""
    return root / path.lstrip("/")
