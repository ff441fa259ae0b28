"""What goes on at NVIDIA GPUs while somebody measures: the program that runs in a process of its own.

`python -m autotune.probes.nvidia_watch` looks five times a second, and answers each line of its input with a line of
JSON on the time since the last one; it ends with its input. "We" are the process that started it and all below that.

Source: NVIDIA, NVML API Reference Guide: nvmlClocksEventReasons, nvmlDeviceGetProcessUtilization.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import suppress
from statistics import fmean
from typing import Any

from .child import keep_answering

EVERY_S = 0.2
SLOWED = 0x08 | 0x20 | 0x40 | 0x80
"""Bits of the reasons for a lower clock: hardware slowdown, heat by software and by hardware, power brake.

Not the power limit (0x04): under load, most large GPUs run at theirs all the time.
"""


class Watcher:
    """Looks at all GPUs, and sums up what it saw."""

    def __init__(self, nvml: Any, is_ours: Callable[[int], bool]) -> None:
        """Ask for the GPUs. is_ours: whether a process is no other. Raises what NVML raises."""
        nvml.nvmlInit()
        self._nvml, self._is_ours = nvml, is_ours
        self._known: dict[int, bool] = {}
        self._gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        self._seen_until = dict.fromkeys(range(len(self._gpus)), 0)
        self._forget()

    def look(self) -> None:
        """Take in what there is to see now."""
        here = [self._processes(gpu) for gpu in self._gpus]
        there = {pid for processes in here for pid in processes}
        self._known = {pid: self._known[pid] if pid in self._known else self._is_ours(pid) for pid in there}
        for number, gpu in enumerate(self._gpus):
            if not any(self._known[pid] for pid in here[number]):
                continue  # not where we measure, or, in a container, numbered otherwise: nothing can be said
            for fact, asked in (("slowed", self._slowed), ("clock", self._clock)):
                with suppress(self._nvml.NVMLError):
                    self._seen[fact].append(asked(gpu))
            self._seen["foreign"].append(self._foreign(number, gpu))

    def told(self) -> dict[str, float | bool]:
        """Return what was seen since this was asked last: shares of the time and of the highest clock."""
        seen = self._seen
        self._forget()
        return {
            "slowed": any(seen["slowed"]),
            "clock": round(fmean(seen["clock"]), 3) if seen["clock"] else 0.0,
            "foreign": round(fmean(seen["foreign"]), 3) if seen["foreign"] else 0.0,
        }

    def _forget(self) -> None:
        self._seen: dict[str, list[float]] = {"slowed": [], "clock": [], "foreign": []}

    def _processes(self, gpu: Any) -> set[int]:
        with suppress(self._nvml.NVMLError):
            return {process.pid for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(gpu)}
        return set()

    def _slowed(self, gpu: Any) -> float:
        return float(bool(self._nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu) & SLOWED))

    def _clock(self, gpu: Any) -> float:
        clock = self._nvml.NVML_CLOCK_SM
        return float(self._nvml.nvmlDeviceGetClockInfo(gpu, clock) / self._nvml.nvmlDeviceGetMaxClockInfo(gpu, clock))

    def _foreign(self, number: int, gpu: Any) -> float:
        """Return the share of the GPU that others have used since it was looked at last."""
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(gpu, self._seen_until[number])
        except self._nvml.NVMLError:  # there is no new sample, or the GPU does not tell
            return 0.0
        if not samples:
            return 0.0
        self._seen_until[number] = max(sample.timeStamp for sample in samples)
        moments = len({sample.timeStamp for sample in samples})
        used = sum(float(sample.smUtil) for sample in samples if not self._known.get(sample.pid))
        return min(1.0, used / 100 / moments)


def _is_below(pid: int, ancestor: int) -> bool:
    import psutil

    with suppress(psutil.Error):
        return pid == ancestor or any(parent.pid == ancestor for parent in psutil.Process(pid).parents())
    return False


def _watch(say: Callable[[Any], None]) -> None:
    import pynvml

    us = os.getppid()
    watcher = Watcher(pynvml, lambda pid: _is_below(pid, us))
    while True:
        asked = select.select([0], [], [], EVERY_S)[0]
        watcher.look()
        if asked:
            if not os.read(0, 4096):
                return
            say(watcher.told())


if __name__ == "__main__":
    keep_answering(_watch)
