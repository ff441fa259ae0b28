"""Where sweeps are kept on the driver: their results in one store, and a journal of each beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...store.places import data_dir, make_folder
from .journal import Journal, journals

if TYPE_CHECKING:
    from pathlib import Path

    from .wanted import Lab


def sweeps_folder() -> Path:
    """Return the folder of sweeps; it may not be there yet."""
    return data_dir(make=False) / "sweeps"


def store_file() -> Path:
    """Return the store that all sweeps share: what one has found is where the next begins."""
    return sweeps_folder() / "lab.db"


def journal_of(lab: Lab, *, fresh: bool) -> tuple[Journal, bool]:
    """Return the journal to go on with, or a new one, and whether it goes on. A changed `lab.toml` is another sweep."""
    folder = sweeps_folder()
    if not fresh:
        for journal in journals(folder):
            if journal.opening.lab.key == lab.key:
                return journal, True
    make_folder(folder)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    return Journal.begin(folder / f"{moment}-{lab.key}.jsonl", lab, fresh=fresh), False
