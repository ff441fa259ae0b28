"""GPUs that only torch can ask (ROCm, XPU, MPS): the program that runs in a process of its own.

`python -m autotune.probes.devices` prints a `Sighting` as JSON. It imports torch, which takes seconds, so it is
run only where `hints` sees such a device.

None of the three has been run on a real device: this was written from torch's documentation and from the types in
`torch/_C/__init__.pyi` of torch 2.13, and is tested with stand-ins for torch that answer in the same shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from .child import answer


def look(torch: Any) -> dict[str, Any]:
    """Return what `torch` tells, as the content of a `Sighting`."""
    accelerators: list[dict[str, Any]] = []
    notes: list[str] = []
    for family, ask in (("ROCm", _rocm), ("XPU", _xpu), ("MPS", _mps)):
        try:
            accelerators.extend(ask(torch))
        except (AttributeError, AssertionError, OSError, RuntimeError) as error:  # what torch raises for a sick driver
            notes.append(f"torch could not ask for {family} devices: {_first_line(error)}")
    return {"accelerators": accelerators, "notes": notes}


def _rocm(torch: Any) -> Iterable[dict[str, Any]]:
    if not torch.version.hip or not torch.cuda.is_available():
        return
    for index in range(torch.cuda.device_count()):
        told = torch.cuda.get_device_properties(index)
        # its major and minor are those of the gfx number, and would be taken for a compute capability
        yield {
            "kind": "rocm",
            "index": index,
            "name": f"{told.name} ({told.gcnArchName.partition(':')[0]})",
            "uuid_hash": _hash(told),
            "total_bytes": told.total_memory,
            "free_bytes": _free_bytes(torch.cuda.mem_get_info, index),
            "unified_memory": bool(getattr(told, "is_integrated", False)),
        }


def _xpu(torch: Any) -> Iterable[dict[str, Any]]:
    if not torch.xpu.is_available():
        return
    for index in range(torch.xpu.device_count()):
        told = torch.xpu.get_device_properties(index)
        yield {
            "kind": "xpu",
            "index": index,
            "name": told.name,
            "uuid_hash": _hash(told),
            "total_bytes": told.total_memory,
            "free_bytes": _free_bytes(torch.xpu.mem_get_info, index),
            "driver": told.driver_version,
            "unified_memory": bool(getattr(told, "is_integrated_gpu", False)),
        }


def _mps(torch: Any) -> Iterable[dict[str, Any]]:
    if not torch.backends.mps.is_available():
        return
    yield {
        "kind": "mps",
        "index": 0,
        "name": torch.backends.mps.get_name(),
        "total_bytes": torch.mps.recommended_max_memory(),
        "free_bytes": None,  # Metal tells only what this process has taken; the RAM says more
        "unified_memory": True,
    }


def _free_bytes(mem_get_info: Callable[[int], tuple[int, int]], index: int) -> int | None:
    try:
        return mem_get_info(index)[0]
    except (AttributeError, RuntimeError):  # not every Intel driver tells
        return None


def _hash(told: Any) -> str | None:
    uuid = str(getattr(told, "uuid", ""))
    return hashlib.sha256(uuid.encode()).hexdigest()[:16] if uuid and " at 0x" not in uuid else None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _look() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: one of its libraries cannot be loaded
        return {"accelerators": [], "notes": [f"torch cannot be imported: {_first_line(error)}"]}
    return look(torch)


if __name__ == "__main__":
    answer(_look)
