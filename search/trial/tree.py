"""The processes of a trial, all that it has started included: what they take, and how they are found."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "AUTOTUNE_TRIALS"
"""The variable by which every process below a template is known, whoever became its parent."""
SWEEP_S = 5


def resident_bytes(process: psutil.Process) -> int:
    """Return what a process has in memory, and all of what it shares; 0 where it is gone."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def used_s(process: psutil.Process) -> float:
    """Return the processor time of a process and of the children that it has waited for; 0 where it is gone."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.Error:
        return 0.0


def own_bytes(process: psutil.Process) -> int:
    """Return what a process has in memory, with its part of what it shares: forked processes share most of it.

    Source: man 5 proc_pid_smaps (Pss); elsewhere than on Linux, the resident set.
    """
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return resident_bytes(process)


def sweep(mark: str) -> None:
    """Kill every process that has a mark, until there is none."""
    wanted = f"{MARK}={mark}".encode()
    deadline = time.monotonic() + SWEEP_S
    while time.monotonic() < deadline:
        found = [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _is_marked(folder, wanted)]
        if not found:
            return
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _is_marked(folder: Path, wanted: bytes) -> bool:
    try:
        return wanted in (folder / "environ").read_bytes().split(b"\0")  # that of a zombie is empty
    except OSError:
        return False
