"""The memory (RAM): how much there is, and how much can be taken now."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from ..value import Value
from .cgroup import own_groups
from .files import ROOT, int_of, text_of


class Memory(Value):
    """What this process may use; both are 0 where the system does not tell, so that nothing is believed to fit."""

    total_bytes: int = Field(ge=0)
    """The machine's memory, or the limit of the container where that is less."""
    free_bytes: int = Field(ge=0)
    """What can be taken now without swapping and without reaching the limit of the container."""


@dataclass(frozen=True)
class _Room:
    """What one control group leaves."""

    limit_bytes: int
    free_bytes: int


def probe_memory(root: Path = ROOT, *, system: str = sys.platform) -> Memory:
    """Return the memory: cheap, fresh at each call, without a child process; nothing is raised.

    On Linux from /proc/meminfo and the control groups' limits (a group's inactive file cache counts as free: it is
    given back on demand), elsewhere through psutil.

    Source: man 5 proc_meminfo; Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    total_bytes, free_bytes = _of_machine(root) if system == "linux" else _by_psutil()
    for room in _rooms(root):
        total_bytes = min(total_bytes, room.limit_bytes)
        free_bytes = min(free_bytes, room.free_bytes)
    return Memory(total_bytes=total_bytes, free_bytes=min(free_bytes, total_bytes))


def free_memory(root: Path = ROOT) -> int:
    """Return the bytes of RAM that can be taken now."""
    return probe_memory(root).free_bytes


def _of_machine(root: Path) -> tuple[int, int]:
    text = text_of(root / "proc/meminfo")
    available = _number(text, "MemAvailable")
    if available is None:  # kernels before 3.14 and a few sandboxes do not say
        available = _number(text, "MemFree")
    return (_number(text, "MemTotal") or 0) * 1024, (available or 0) * 1024


def _by_psutil() -> tuple[int, int]:
    import psutil

    memory = psutil.virtual_memory()
    return memory.total, memory.available


def _rooms(root: Path) -> list[_Room]:
    groups = own_groups("memory", root)
    room_of = _room_2 if groups.version == 2 else _room_1
    return [room for room in map(room_of, groups.folders) if room]


def _room_1(folder: Path) -> _Room | None:
    limit_bytes = int_of(text_of(folder / "memory.limit_in_bytes"))  # without a limit: nearly 2**63
    return _room(folder, limit_bytes, "memory.usage_in_bytes", "total_inactive_file")


def _room_2(folder: Path) -> _Room | None:
    # above memory.high a process is not killed, but slowed down so much that no timing would mean anything
    limits = (int_of(text_of(folder / name)) for name in ("memory.max", "memory.high"))
    limit_bytes = min((limit for limit in limits if limit is not None), default=None)
    return _room(folder, limit_bytes, "memory.current", "inactive_file")


def _room(folder: Path, limit_bytes: int | None, usage_name: str, cache_name: str) -> _Room | None:
    if limit_bytes is None:
        return None
    usage_bytes = int_of(text_of(folder / usage_name)) or 0
    cache_bytes = _number(text_of(folder / "memory.stat"), cache_name) or 0
    kept_bytes = max(0, usage_bytes - cache_bytes)
    return _Room(max(0, limit_bytes), max(0, limit_bytes - kept_bytes))


def _number(text: str, name: str) -> int | None:
    """Return the number of one row of a file of rows like "name number" or "name: number kB"; the others are not read.

    None where there is no such row, or no number in it.
    """
    found = re.search(rf"^{name}:?[ \t]+([0-9]+)(?:[ \t]|$)", text, re.MULTILINE)
    return int(found[1]) if found else None
