"""What is: the machine, its accelerators, memory, CPU and software. Absence is an answer, and nothing is raised.

The names are looked up when they are first used (PEP 562): the child processes that ask drivers live in this
folder too, and start without the rest of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accelerators import (
        Accelerator,
        Sighting,
        probe_devices,
        probe_nvidia,
    )
    from .cpu import Cpu, probe_cpu
    from .machine import Machine, probe
    from .memory import Memory, free_memory, probe_memory
    from .software import Software, probe_software

__all__ = [
    "Accelerator",
    "Cpu",
    "Machine",
    "Memory",
    "Sighting",
    "Software",
    "free_memory",
    "probe",
    "probe_cpu",
    "probe_devices",
    "probe_memory",
    "probe_nvidia",
    "probe_software",
]

_HOMES = {
    "accelerators": ("Accelerator", "Sighting", "probe_devices", "probe_nvidia"),
    "cpu": ("Cpu", "probe_cpu"),
    "machine": ("Machine", "probe"),
    "memory": ("Memory", "free_memory", "probe_memory"),
    "software": ("Software", "probe_software"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name's module when the name is asked for."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
