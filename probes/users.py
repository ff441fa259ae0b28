"""Which processes compute on NVIDIA GPUs: the program that runs in a process of its own, as `nvidia` does.

Source: NVIDIA, NVML API Reference Guide, nvmlDeviceGetComputeRunningProcesses.
"""

from __future__ import annotations

from typing import Any

from .child import answer


def look(nvml: Any) -> dict[str, Any]:
    """Return the ids of the processes that `nvml` tells of; none without a driver."""
    pids: set[int] = set()
    try:
        nvml.nvmlInit()
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            pids |= {process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    except nvml.NVMLError:
        return {"pids": sorted(pids)}
    return {"pids": sorted(pids)}


def _look() -> dict[str, Any]:
    try:
        import pynvml
    except ImportError:
        return {"pids": []}
    return look(pynvml)


if __name__ == "__main__":
    answer(_look)
