"""The machine: everything the probes see, as one value."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import UsageError
from ..value import Value, key_of
from .accelerators import Accelerator, Sighting, probe_devices, probe_nvidia
from .cpu import UNKNOWN, Cpu, probe_cpu
from .memory import Memory, probe_memory
from .software import Software, probe_software

_GIB = 2**30


class Machine(Value):
    """A machine at one moment. Free memory and notes are of that moment; the rest lasts."""

    cpu: Cpu
    memory: Memory
    accelerators: tuple[Accelerator, ...]
    software: Software
    notes: tuple[str, ...]
    """In sentences, what could not be asked. With a note, an accelerator may be missing that is there."""

    def lasting(self) -> dict[str, Any]:
        """Return what does not change by itself, as JSON would say it: compare two to say what has changed.

        Without the software, which has a key of its own, but with the drivers. Total memory is in whole GiB: kernels
        and drivers keep a few MB more or less for themselves from one release to the next.
        """
        content = self.model_dump(mode="json", exclude={"software", "notes"})
        for part in (content["memory"], *content["accelerators"]):
            del part["free_bytes"]
            part["total_gib"] = round(part.pop("total_bytes") / _GIB)
        return content

    @cached_property
    def fingerprint(self) -> str:
        """A short stable key of the lasting part."""
        return key_of(self.lasting())

    @property
    def kind(self) -> str:
        """A short stable key of all that machines of one make share: not which specimens the GPUs are."""
        content = self.lasting()
        for accelerator in content["accelerators"]:
            del accelerator["uuid_hash"]
        return key_of(content)


def read_machine(file: Path) -> Machine:
    """Return a machine that `autotune probe --json` described, on this computer or another. Raises UsageError."""
    try:
        return Machine.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file} cannot be read ({error})."
        raise UsageError(msg) from error
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"])) or "its content"
        msg = f"{file} describes no machine as `autotune probe --json` does: {where}: {wrong['msg']}."
        raise UsageError(msg) from error


def probe(
    *,
    ask_cpu: Callable[[], Cpu] = probe_cpu,
    ask_memory: Callable[[], Memory] = probe_memory,
    ask_nvidia: Callable[[], Sighting] = probe_nvidia,
    ask_devices: Callable[[], Sighting] = probe_devices,
    ask_software: Callable[[], Software] = probe_software,
) -> Machine:
    """Return this machine as it is now. What is broken or silent is left out and noted; nothing is raised.

    Well under a second, unless a driver hangs (5 s) or there is a sign of an AMD, Intel or Apple GPU that the
    installed torch was built for: then torch is imported, in a child process.
    """
    cpu, nvidia, devices = ask_cpu(), ask_nvidia(), ask_devices()
    memory = ask_memory()  # last, because it is of the moment
    return Machine(
        cpu=cpu,
        memory=memory,
        accelerators=(*nvidia.accelerators, *devices.accelerators),
        software=ask_software(),
        notes=(*_silence(cpu, memory), *nvidia.notes, *devices.notes),
    )


def _silence(cpu: Cpu, memory: Memory) -> list[str]:
    """Return a sentence for each of the two that did not tell what it is."""
    notes = []
    if cpu.model_name == UNKNOWN and not cpu.features:
        notes.append("The CPU does not tell what it is, so it is taken to have no fast instructions.")
    if memory.total_bytes == 0:
        notes.append("The memory could not be read, so nothing is believed to fit into it.")
    return notes
