"""The machine at this moment, and who has its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from .views import Device, Now, User

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..wire import MachineNow

MOST_USERS = 5
LEAST_BYTES = 200 * 2**20


def now_of(seen: MachineNow) -> Now:
    """Return the machine as it is now: `seen` is what the daemon says of it."""
    return Now(devices=tuple(_devices(seen)), users=tuple(_users()))


def _devices(seen: MachineNow) -> Iterator[Device]:
    machine = seen.machine
    yield Device(
        name="cpu",
        product=machine.cpu.model_name,
        total_bytes=machine.memory.total_bytes,
        free_bytes=seen.free_bytes.get("cpu", machine.memory.free_bytes),
    )
    names = [name for name in seen.free_bytes if name != "cpu"]
    for name, gpu in zip(names, machine.accelerators, strict=False):
        yield Device(name=name, product=gpu.name, total_bytes=gpu.total_bytes, free_bytes=seen.free_bytes[name])


def _users() -> list[User]:
    """Return the processes that have most memory; those that end meanwhile, or hide themselves, are left out."""
    found = []
    for process in psutil.process_iter(["pid", "name", "username", "memory_info"]):
        said = process.info
        if said["memory_info"] and said["memory_info"].rss >= LEAST_BYTES:
            resident_bytes, owner = said["memory_info"].rss, said["username"] or ""
            found.append(User(pid=said["pid"], name=said["name"] or "", owner=owner, resident_bytes=resident_bytes))
    return sorted(found, key=lambda user: -user.resident_bytes)[:MOST_USERS]
