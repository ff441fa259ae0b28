"""The peak memory of a pipeline: what its process took beyond what the libraries take without any model."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path


class PeakMemory:
    """On a CPU the resident set, on an accelerator what torch's allocator reserved."""

    def __init__(self) -> None:
        """Note what is resident now, before any model."""
        self._device = "cpu"
        self._before_bytes = _resident_bytes("VmRSS")

    def start(self, device: str) -> None:
        """Begin anew: a peak of the past is forgotten where the system can."""
        self._device = device
        if device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats()
        # elsewhere than on Linux the peak is that of the whole process, which loads only one pipeline
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak_bytes(self) -> int:
        """Return the peak since `start`, in bytes."""
        if self._device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_reserved())
        return max(0, _resident_bytes("VmHWM") - self._before_bytes)


def limit(device: str, limit_bytes: int | None) -> None:
    """Let torch take no more of an accelerator's memory than that: what asks for more is out of memory.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.cuda.memory.set_per_process_memory_fraction.html
    """
    if limit_bytes is not None and device.startswith("cuda"):
        import torch

        _, total_bytes = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total_bytes))


def _resident_bytes(field: str) -> int:
    """Return VmRSS or VmHWM in bytes. Source: man 5 proc, in KiB; elsewhere getrusage, in KiB (macOS: bytes)."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        return int(lines[field].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
