"""Writing a file whole or not at all: nobody reads half of one, whoever else writes it at the same time."""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile


def write_whole(file: Path, text: str) -> None:
    """Put a file with this text in its place, and the folders above it where they are missing. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=file.parent, prefix=".draft-", encoding="utf-8", delete=False) as draft:
        draft.write(text)
    Path(draft.name).replace(file)
