"""What each device of a machine has free at this moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...probes.accelerators import Accelerator
from ...probes.machine import Machine
from ...probes.memory import free_memory
from ...probes.teller import Teller

PATIENCE_S = 0.8
"""How long a GPU's driver may take to say what is free; after that, what it said when it was probed must do."""
FRESH_S = 0.02
"""So old may be what is said: questions that come together are answered by one look."""
SULKS_S = 5.0
"""A driver that does not answer is not asked again for so long, and holds up one question in that time."""

TORCH_NAMES = {"cuda": "cuda", "rocm": "cuda", "xpu": "xpu", "mps": "mps"}
"""What torch, and with it the scope of a plan, calls a kind of accelerator."""

FreeMemory = Callable[[Machine], Mapping[str, int]]
"""Says what each device of a machine has free at this moment, in bytes, by the name that torch has for it."""


class Gauge:
    """Reads the free memory, as often as it is asked.

    Only NVIDIA's driver is asked anew, in a process that stays: one that is started takes a tenth of a second. For the
    other GPUs torch would have to be imported, which takes seconds, so what the machine's own probe said must do; where
    memory is shared, RAM is the measure anyway.
    """

    def __init__(self, pythonpath: Sequence[Path] = ()) -> None:
        """Prepare. pythonpath: folders where the process that asks the driver looks for `pynvml` first."""
        self._teller = Teller("autotune.probes.nvidia_free", pythonpath)
        self._lock = threading.Lock()
        self._sulks_until_s = 0.0
        self._seen: tuple[Machine, float, dict[str, int]] | None = None

    def __call__(self, machine: Machine) -> dict[str, int]:
        """Return the bytes that are free now: "cpu", and "cuda:0" and so on for the accelerators of `machine`."""
        with self._lock:
            if self._seen is None or self._seen[0] is not machine or time.monotonic() - self._seen[1] >= FRESH_S:
                free_bytes = self._read(machine)
                self._seen = machine, time.monotonic(), free_bytes
            return self._seen[2]

    def close(self) -> None:
        """End the process that asks the driver."""
        with self._lock:
            self._teller.close()

    def _read(self, machine: Machine) -> dict[str, int]:
        ram_bytes = free_memory()
        kinds = {gpu.kind for gpu in machine.accelerators if not gpu.unified_memory}
        fresh = self._nvidia() if "cuda" in kinds else {}
        gpus = {f"{TORCH_NAMES[gpu.kind]}:{gpu.index}": _free_on(gpu, fresh, ram_bytes) for gpu in machine.accelerators}
        return {"cpu": ram_bytes, **gpus}

    def _nvidia(self) -> dict[int, int]:
        """Return the bytes that each NVIDIA GPU has free, by its index; one that does not tell is not in it."""
        if time.monotonic() < self._sulks_until_s:
            return {}
        told = self._asked()
        if not isinstance(told, dict):
            self._sulks_until_s = time.monotonic() + SULKS_S
            return {}
        return {int(index): free for index, free in told.items() if _is_size(free)}

    def _asked(self) -> Any:
        """Return what the process says; a new one is asked where it has just ended, as nobody had asked for a while."""
        began_s = time.monotonic()
        told = self._teller.ask(PATIENCE_S) if self._teller.lives else None
        if told is None and time.monotonic() - began_s < PATIENCE_S:
            with suppress(OSError):  # the system has no room for one more process
                self._teller.start()
                told = self._teller.ask(PATIENCE_S)
        return told


def _is_size(told: object) -> bool:
    return isinstance(told, int) and told >= 0


def _free_on(gpu: Accelerator, fresh: Mapping[int, int], ram_bytes: int) -> int:
    if gpu.unified_memory:
        return min(ram_bytes, gpu.total_bytes)
    probed_bytes = gpu.free_bytes or 0
    return fresh.get(gpu.index, probed_bytes) if gpu.kind == "cuda" else probed_bytes
