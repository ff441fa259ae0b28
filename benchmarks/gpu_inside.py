"""What only benchmarks/gpu.py asks of a trial: imported by its templates, it gives their trials three commands more."""

from __future__ import annotations

import os
from typing import Any

from autotune.search.trial.worker import Worker

IMPORTED_BY = os.getpid()


def do_say_origin(self: Worker) -> dict[str, Any]:
    """Say whether this process was forked from what imported the libraries, or had to import them by itself."""
    del self
    return {"forked": os.getpid() != IMPORTED_BY}


def do_count_memory(self: Worker) -> dict[str, int]:
    """Return the peaks of a GPU's memory as torch counts it, and what of it is taken now, by whomever."""
    del self
    import torch

    free_bytes, total_bytes = torch.cuda.mem_get_info()
    return {
        "allocated_bytes": int(torch.cuda.max_memory_allocated()),
        "reserved_bytes": int(torch.cuda.max_memory_reserved()),
        "taken_bytes": total_bytes - free_bytes,
    }


def do_break_device(self: Worker) -> dict[str, str]:
    """Let a kernel fail an assertion on the device, and return what this and then a harmless operation raise."""
    del self
    import torch

    numbers = torch.zeros(1, device="cuda")
    return {"first": _raised(lambda: numbers[torch.tensor([5], device="cuda")]), "then": _raised(numbers.sum)}


def _raised(operation: Any) -> str:
    """Return the error of an operation on the device, empty where there was none."""
    import torch

    try:
        operation()
        torch.cuda.synchronize()
    except Exception as error:  # noqa: BLE001 - which one is the result
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


for command in (do_say_origin, do_count_memory, do_break_device):
    setattr(Worker, command.__name__, command)
