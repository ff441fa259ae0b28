"""Which NVIDIA GPUs CUDA shows to a program, in the order in which it counts them.

CUDA_VISIBLE_DEVICES names them by number or by how their UUID begins; the first name that means none ends the list.
Those that it leaves are counted anew: the first is `cuda:0`, whichever it is to the driver. A part of a GPU in MIG mode
is not looked up: then all are told, as without a list.

Source: NVIDIA, CUDA C++ Programming Guide, "CUDA Environment Variables".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

LIST = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"


def visible(nvml: Any, environment: Mapping[str, str]) -> list[int]:
    """Return the numbers that the driver has for the GPUs that are shown. Raises NVMLError where it has no count."""
    count = nvml.nvmlDeviceGetCount()
    asked = environment.get(LIST)
    if asked is None or "MIG-" in asked:
        return list(range(count))
    shown: list[int] = []
    for name in asked.split(","):
        number = _number(nvml, name.strip(), count)
        if number is None or number in shown:
            break
        shown.append(number)
    return shown


def _number(nvml: Any, name: str, count: int) -> int | None:
    if name.isdecimal():
        return int(name) if int(name) < count else None
    if not name.startswith("GPU-"):
        return None
    meant = [number for number in range(count) if _told(nvml, nvml.nvmlDeviceGetUUID, number).startswith(name)]
    return meant[0] if len(meant) == 1 else None


def _told(nvml: Any, question: Callable[[Any], str | bytes], number: int) -> str:
    with suppress(nvml.NVMLError):
        return text_of(question(nvml.nvmlDeviceGetHandleByIndex(number)))
    return ""


def text_of(told: str | bytes) -> str:
    """Return what NVML told: its older releases give bytes."""
    return told.decode(errors="replace") if isinstance(told, bytes) else told


def surprises(nvml: Any, shown: Sequence[int], environment: Mapping[str, str]) -> list[str]:
    """Return sentences on what a user may not expect of those that are shown: that none is, or how CUDA counts."""
    kinds = sorted({_told(nvml, nvml.nvmlDeviceGetName, number) for number in range(nvml.nvmlDeviceGetCount())} - {""})
    if not kinds:
        return []
    if not shown:
        return [f'{LIST}="{environment[LIST]}" shows no NVIDIA GPU, so none is used.']
    if len(kinds) == 1 or environment.get(ORDER) == "PCI_BUS_ID" or environment.get(LIST, "").startswith("GPU-"):
        return []
    note = (
        f"There are {' and '.join(kinds)}: CUDA counts from the fastest on, the driver and `nvidia-smi` by slots; "
        f"set {ORDER}=PCI_BUS_ID, so that a number means the same to both."
    )
    return [note]
