"""What NVIDIA GPUs have free: the program that runs in a process of its own, and is asked again and again.

`python -m autotune.probes.nvidia_free` answers each line of its input with the bytes that each GPU has free, as JSON by
their indices; one that does not tell is left out. It ends with its input, and when nobody has asked for a while: who
holds the driver open keeps the GPU of a laptop awake.

Source: NVIDIA, NVML API Reference Guide, nvmlDeviceGetMemoryInfo; driver's README, "PCI-Express Runtime D3".
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from typing import Any

QUIET_S = 10.0


def free_bytes(nvml: Any) -> dict[int, int]:
    """Return what `nvml` tells now."""
    told = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        with suppress(nvml.NVMLError):
            told[index] = nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(index)).free
    return told


def _tell() -> None:
    channel = os.dup(1)
    os.dup2(2, 1)  # a driver may say things
    import pynvml

    pynvml.nvmlInit()
    while _is_asked():
        os.write(channel, json.dumps(free_bytes(pynvml)).encode() + b"\n")
    os._exit(0)


def _is_asked() -> bool:
    """Wait for a question; False where none will come. No select: on Windows that knows no pipes."""
    bored = threading.Timer(QUIET_S, os._exit, (0,))
    bored.daemon = True
    bored.start()
    asked = os.read(0, 4096)
    bored.cancel()
    return bool(asked)


if __name__ == "__main__":
    try:
        _tell()
    except Exception as error:  # noqa: BLE001 - there is no driver, it has died: whoever asks sees that nobody answers
        sys.stderr.write(f"{error}\n")
        os._exit(1)
