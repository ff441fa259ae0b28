"""What NVIDIA GPUs have taken since their driver was loaded: the program that runs in a process of its own.

`python -m autotune.probes.nvidia_energy` prints the joules of each GPU, of none where one does not tell.
Source: NVIDIA, NVML API Reference Guide, nvmlDeviceGetTotalEnergyConsumption (millijoules, Volta or newer).
"""

from __future__ import annotations

from typing import Any

from .child import answer


def look(nvml: Any) -> dict[str, Any]:
    """Return what `nvml` tells."""
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
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
