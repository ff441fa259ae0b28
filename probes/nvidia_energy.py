"""What an NVIDIA GPU has taken since its driver was loaded: the program that runs in a process of its own.

`python -m autotune.probes.nvidia_energy` prints the joules of the first GPU that CUDA shows, where a pipeline runs, or
none if it does not tell.

Source: NVIDIA, NVML API Reference Guide, nvmlDeviceGetTotalEnergyConsumption (millijoules, Volta or newer).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .child import answer
from .nvidia_visible import visible


def look(nvml: Any, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return what `nvml` tells."""
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in visible(nvml, environment)[:1]]
        return {"joules": [nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000 for handle in handles]}
    except nvml.NVMLError:
        return {"joules": []}


def _look() -> dict[str, Any]:
    try:
        import pynvml
    except ImportError:
        return {"joules": []}
    return look(pynvml)


if __name__ == "__main__":
    answer(_look)
