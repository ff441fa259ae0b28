"""What NVIDIA GPUs have free: the program that runs in a process of its own, and is asked again and again.

`python -m autotune.probes.nvidia_free` answers each line of its input with the bytes that each GPU has free, as JSON by
their numbers in CUDA; one that does not tell is left out. It ends with its input, and when nobody has asked for a
while: who holds the driver open keeps the GPU of a laptop awake.

Source: NVIDIA, NVML API Reference Guide, nvmlDeviceGetMemoryInfo; driver's README, "PCI-Express Runtime D3".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .child import keep_answering
from .nvidia_visible import visible

QUIET_S = 10.0


def free_bytes(nvml: Any, shown: Sequence[int]) -> dict[int, int]:
    """Return what `nvml` tells now. shown: the driver's numbers of the GPUs, as CUDA counts them."""
    told = {}
    for place, index in enumerate(shown):
        with suppress(nvml.NVMLError):
            told[place] = nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(index)).free
    return told


def _tell(say: Callable[[Any], None]) -> None:
    import pynvml

    pynvml.nvmlInit()
    shown = visible(pynvml, os.environ)
    while _is_asked():
        say(free_bytes(pynvml, shown))


def _is_asked() -> bool:
    """Wait for a question; False where none will come. No select: on Windows that knows no pipes."""
    bored = threading.Timer(QUIET_S, os._exit, (0,))
    bored.daemon = True
    bored.start()
    asked = os.read(0, 4096)
    bored.cancel()
    return bool(asked)


if __name__ == "__main__":
    keep_answering(_tell)
