"""Power cuts: what a disk may hold that was switched off in the middle of the writes that the shim wrote down.

What was synced is there. Of what was not, each write may be there, be missing, or be there in part (in sectors of 512
bytes), whatever came after it; changes of a folder are there up to one of them, in their order.

Source: T. Pillai and others, All File Systems Are Not Created Equal, OSDI 2014.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SECTOR_BYTES = 512


@dataclass(frozen=True)
class Write:
    """One entry of the shim's record."""

    what: str
    path: str
    offset: int
    data: bytes


def writes_in(record: Path) -> Iterator[Write]:
    """Yield what was written down."""
    with record.open("rb") as file:
        for head in iter(file.readline, b""):
            what, path, offset, length = head.decode().rstrip("\n").split("\t")
            yield Write(what, path, int(offset), file.read(int(length)))


@dataclass
class _File:
    """What is surely on the disk, and what may be."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)


@dataclass
class Disk:
    """A disk that is written to. `names` is what the folder surely has, `renaming` what may have become of it since."""

    names: dict[str, _File] = field(default_factory=dict)
    renaming: list[tuple[str, str, _File | None]] = field(default_factory=list)

    def apply(self, write: Write) -> None:
        """Take one more write."""
        now = self._after(len(self.renaming))
        if write.what in {"write", "cut"}:
            now[write.path].pending.append(write)
        elif write.what == "make":
            self.renaming.append(("add", write.path, _File()))
        elif write.what == "remove":
            self.renaming.append(("drop", write.path, None))
        elif write.what in {"rename", "link"}:
            old, new = write.path.split("\v")
            self.renaming.append(("add", new, now[old]))
            if write.what == "rename":
                self.renaming.append(("drop", old, None))
        elif write.path in now:
            file = now[write.path]
            for each in file.pending:
                _change(file.synced, each, len(each.data))
            file.pending.clear()
        else:  # a folder
            mine = [each for each in self.renaming if each[1].rpartition("/")[0] == write.path]
            rest = [each for each in self.renaming if each not in mine]
            self.renaming, others = mine, rest
            self.names = self._after(len(mine))
            self.renaming = others

    def after_a_cut(self, rng: random.Random) -> dict[str, bytes]:
        """Return files as they may be when the power is back."""
        return {name: _torn(file, rng) for name, file in self._after(rng.randint(0, len(self.renaming))).items()}

    def _after(self, changes: int) -> dict[str, _File]:
        names = dict(self.names)
        for _, name, file in self.renaming[:changes]:
            if file is None:
                names.pop(name, None)
            else:
                names[name] = file
        return names


def _torn(file: _File, rng: random.Random) -> bytes:
    content = bytearray(file.synced)
    for write in file.pending:
        sectors = -(-len(write.data) // SECTOR_BYTES)
        done = rng.choice((0, len(write.data), rng.randint(0, sectors) * SECTOR_BYTES))
        if write.what == "write" and done:
            _change(content, write, done)
        elif write.what == "cut" and rng.random() < 0.5:
            _change(content, write, 0)
    return bytes(content)


def _change(content: bytearray, write: Write, length: int) -> None:
    if write.what == "cut":
        del content[write.offset :]
        content.extend(bytes(write.offset - len(content)))
        return
    data = write.data[:length]
    content.extend(bytes(max(0, write.offset - len(content))))
    content[write.offset : write.offset + len(data)] = data


def cuts(writes: Sequence[Write], count: int, rng: random.Random) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield as many states after power cuts, each with the number of writes before it."""
    moments = sorted(rng.choices(range(len(writes) + 1), k=count))
    disk, done = Disk(), 0
    for moment in moments:
        for write in writes[done:moment]:
            disk.apply(write)
        done = moment
        yield moment, disk.after_a_cut(rng)
