"""What became of each job of a sweep, a line an event: a sweep that was killed goes on from it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ...store.run import now
from ...value import Value
from .machines import Seen
from .wanted import Lab

State = Literal["begun", "finished", "failed", "given up"]


class Entry(Value):
    """An event of one job, or of the sweep (job is empty).

    run: the run that its trials are kept in; machine: who did it; note: in a sentence, what happened; took_s: machine
    time of this try; carried: recipes of a like machine that it began with, and `like` is that machine; price: of an
    hour of the machine, kind: its key. helps: the machine only tries recipes of a job that another concludes.
    tried: how many trials it made in this try, and pace: how many times as long they took as beside the baseline.
    """

    at: str
    job: str = ""
    state: State | None = None
    run: str = ""
    machine: str = ""
    note: str = ""
    took_s: float = 0.0
    carried: tuple[str, ...] = ()
    like: str = ""
    price: float | None = None
    kind: str = ""
    helps: bool = False
    tried: int = 0
    pace: float = 1.0


class Opening(Value):
    """The first line of a journal: what the sweep is."""

    at: str
    lab: Lab
    fresh: bool = False


class Journal:
    """A file of one sweep: its opening, and entries behind it. Each is on the disk before anything follows from it."""

    def __init__(self, file: Path) -> None:
        """Read what there is. A last line that was cut off by a crash is as good as never written."""
        self.file = file
        self.opening, self.entries = _read(file)

    @classmethod
    def begin(cls, file: Path, lab: Lab, *, fresh: bool) -> Journal:
        """Return the journal of a new sweep."""
        file.parent.mkdir(parents=True, exist_ok=True)
        _append(file, Opening(at=now(), lab=lab, fresh=fresh))
        return cls(file)

    def note(self, entry: Entry) -> None:
        """Keep an entry."""
        self.entries.append(entry)
        _append(self.file, entry)

    @property
    def ended(self) -> bool:
        """Whether the sweep has said its last word."""
        return bool(self.entries) and not self.entries[-1].job and self.entries[-1].state == "finished"

    def seen(self, machine: Seen, price: float | None) -> None:
        """Note that a machine takes part, and what an hour of it costs."""
        said = f"{machine.node.name} is {machine.says}"
        self.note(Entry(at=now(), machine=machine.node.name, note=said, price=price, kind=machine.kind))

    def of(self, job: str) -> list[Entry]:
        """Return the entries of a job, the oldest first."""
        return [entry for entry in self.entries if entry.job == job]

    @property
    def kinds(self) -> list[str]:
        """The kinds of machine that have taken part."""
        return list(dict.fromkeys(entry.kind for entry in self.entries if entry.kind))

    @property
    def jobs(self) -> dict[str, Entry]:
        """The last entry with a state of each job, of the machine that concludes it."""
        return {entry.job: entry for entry in self.entries if entry.job and entry.state and not entry.helps}


def journals(folder: Path) -> Iterator[Journal]:
    """Yield the journals of a folder that can be read, the newest first: their names begin with their time."""
    for file in sorted(folder.glob("*.jsonl"), reverse=True):
        with suppress(ValueError, OSError):
            yield Journal(file)


def _read(file: Path) -> tuple[Opening, list[Entry]]:
    whole = [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    if not whole:
        msg = f"{file} has no opening"
        raise ValueError(msg)
    entries = []
    for line in whole[1:]:
        with suppress(ValidationError):  # two lines in one, where a crash cut the first
            entries.append(Entry.model_validate_json(line))
    return Opening.model_validate_json(whole[0]), entries


def _append(file: Path, value: Value) -> None:
    with file.open("a+b") as journal:
        size = journal.seek(0, os.SEEK_END)
        if size:
            journal.seek(size - 1)
            if journal.read(1) != b"\n":
                journal.write(b"\n")
        journal.write(value.model_dump_json().encode() + b"\n")
        journal.flush()
        os.fsync(journal.fileno())
