"""Whether others use this machine: a job that is polite waits then."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from contextlib import suppress

import psutil

from ...probes.accelerators import NVIDIA_TIMEOUT_S
from ...probes.child import ask_child

WATCH_S = 0.5
BUSY_SHARE = 0.25
"""Of all cores' time; a desktop that nobody sits at takes a few hundredths."""


def busy_because(own: Collection[int] = (), watch_s: float = WATCH_S) -> str:
    """Return in a sentence who else uses the GPU or the CPU, or an empty one; it watches for `watch_s`.

    own: the processes that do not count as others.
    """
    others = [pid for pid in _gpu_users() if pid not in own and psutil.pid_exists(pid)]
    if others:
        return f"Another program uses the GPU ({_name(others[0])}, process {others[0]})."
    share = _share_of_others(own, watch_s)
    if share > BUSY_SHARE:
        return f"Other programs use {share:.0%} of the CPU."
    return ""


def tree_of(pid: int) -> set[int]:
    """Return a process and all that it has started, as ids."""
    try:
        process = psutil.Process(pid)
        return {pid, *(child.pid for child in process.children(recursive=True))}
    except psutil.Error:
        return {pid}


def _gpu_users() -> list[int]:
    answer = ask_child("autotune.probes.users", NVIDIA_TIMEOUT_S)
    return [] if answer.problem else list(json.loads(answer.text)["pids"])


def _share_of_others(own: Collection[int], watch_s: float) -> float:
    before, own_before_s = _taken(), _by(own)
    time.sleep(watch_s)
    after, own_s = _taken(), _by(own) - own_before_s
    busy_s, idle_s = after[0] - before[0], after[1] - before[1]
    return max(0.0, (busy_s - own_s) / (busy_s + idle_s)) if busy_s + idle_s > 0 else 0.0


def _taken() -> tuple[float, float]:
    """Return the seconds that all cores have worked, and those that they had nothing to do."""
    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    counted_twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return sum(times) - idle_s - counted_twice, idle_s


def _by(pids: Collection[int]) -> float:
    total_s = 0.0
    for pid in pids:
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            total_s += times.user + times.system
    return total_s


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "of another user"
