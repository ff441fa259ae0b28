"""What else goes on here: the CPU time, the memory and the heat that a measurement shares with others.

A `glance` is a reading of counters, `between` what they say of the time from one to the next. The counters are cheap to
read (a few milliseconds), but not free: they are read beside a measurement, never inside of it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import Field

from ..value import Value
from .cgroup import own_groups
from .files import ROOT, int_of, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
FOREIGN_SHARE = 0.1  # of the cores, and more than the kernel's own threads take
STOLEN_SHARE = 0.02
STALLED_SHARE = 0.02
HELD_BACK_SHARE = 0.02
FOREIGN_GPU_SHARE = 0.02


class Load(Value):
    """What was there beside a measurement. All is 0 where the system does not tell.

    Of the cores that this process may use, `foreign_cores` were kept busy by other processes of the machine, and
    `stolen_cores` by other machines of the host. `stalled` is the share of the time in which something waited for
    memory, `held_back` that in which the container's CPU quota was used up; `throttled` says whether a core was slowed
    down for its heat. `foreign_gpu` is the share of the GPU that others used, `gpu_clock` its clock as a share of the
    highest, and `gpu_slowed` says whether heat or a brake lowered it.
    """

    cores: int = Field(ge=1)
    foreign_cores: float = 0.0
    stolen_cores: float = 0.0
    stalled: float = 0.0
    held_back: float = 0.0
    throttled: bool = False
    foreign_gpu: float = 0.0
    gpu_clock: float = 0.0
    gpu_slowed: bool = False

    @property
    def is_shared(self) -> bool:
        """Whether other processes kept more of the cores busy than a system's own services do."""
        return self.foreign_cores > FOREIGN_SHARE * self.cores


@dataclass(frozen=True)
class Glance:
    """Counters as they stood: seconds since some beginning, but for `throttles`, which are counted."""

    at_s: float
    cores: int
    busy_s: float = 0.0
    own_s: float = 0.0
    stolen_s: float = 0.0
    stalled_s: float = 0.0
    held_back_s: float = 0.0
    throttles: int = 0


def glance(root: Path = ROOT, pid: int | None = None, cores: frozenset[int] | None = None) -> Glance:
    """Return the counters of now; nothing is raised.

    pid: the process that is "we", with all below it; this one where it is None. cores: those that we may use.

    Source: man 5 proc_stat and proc_pid_stat; Linux, Documentation/accounting/psi.rst and admin-guide/cgroup-v2.rst;
    arch/x86/kernel/cpu/mce/therm_throt.c for the counters of heat.
    """
    allowed = cores if cores is not None else _affinity()
    busy_s, stolen_s = _of_cores(text_of(root / "proc/stat"), allowed)
    return Glance(
        at_s=time.monotonic(),
        cores=max(1, len(allowed)),
        busy_s=busy_s,
        own_s=_own_s(root, pid or os.getpid()) if busy_s else 0.0,
        stolen_s=stolen_s,
        stalled_s=_stalled_s(text_of(root / "proc/pressure/memory")),
        held_back_s=_held_back_s(root),
        throttles=_throttles(root),
    )


def between(before: Glance, after: Glance) -> Load:
    """Return what was there from one reading to the next."""
    elapsed_s = max(1e-9, after.at_s - before.at_s)
    foreign_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)

    def share(seconds: float, most: float) -> float:
        return round(min(most, max(0.0, seconds / elapsed_s)), 3)

    return Load(
        cores=before.cores,
        foreign_cores=share(foreign_s, before.cores),
        stolen_cores=share(after.stolen_s - before.stolen_s, before.cores),
        stalled=share(after.stalled_s - before.stalled_s, 1),
        held_back=share(after.held_back_s - before.held_back_s, 1),
        throttled=after.throttles > before.throttles,
    )


def together(loads: Sequence[Load]) -> Load:
    """Return what was there on average beside several measurements, at least one."""

    def mean(name: str) -> float:
        return round(fmean(getattr(load, name) for load in loads), 3)

    measures = ("foreign_cores", "stolen_cores", "stalled", "held_back", "foreign_gpu", "gpu_clock")
    return Load(
        cores=loads[0].cores,
        throttled=any(load.throttled for load in loads),
        gpu_slowed=any(load.gpu_slowed for load in loads),
        **{name: mean(name) for name in measures},
    )


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _of_cores(text: str, allowed: frozenset[int]) -> tuple[float, float]:
    """Return the seconds that these cores were busy, and that they were taken away by the host."""
    busy = stolen = 0
    for line in text.splitlines():
        name, *words = line.split() or [""]
        number = int_of(name.removeprefix("cpu")) if name.startswith("cpu") else None
        if number in allowed and len(words) >= 8:
            user, nice, system, _idle, _waiting, interrupts, soft, taken = (int_of(word) or 0 for word in words[:8])
            busy += user + nice + system + interrupts + soft  # guests are in user
            stolen += taken
    return busy / TICKS_A_SECOND, stolen / TICKS_A_SECOND


def _own_s(root: Path, pid: int) -> float:
    """Return the seconds of CPU of a process and of all below it, the children that have ended among them."""
    parents, ticks = {}, {}
    for stat in root.glob("proc/[0-9]*/stat"):
        fields = text_of(stat).rpartition(")")[2].split()  # a name may hold blanks and brackets
        if len(fields) >= 15:
            number = int(stat.parent.name)
            parents[number], ticks[number] = int(fields[1]), sum(map(int, fields[11:15]))
    ours = {pid}
    while more := {number for number, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(ticks.get(number, 0) for number in ours) / TICKS_A_SECOND


def _stalled_s(text: str) -> float:
    some = next((line for line in text.splitlines() if line.startswith("some ")), "")
    return (int_of(some.rpartition("total=")[2]) or 0) / 1e6


def _held_back_s(root: Path) -> float:
    """Return the seconds in which a quota held our processes back, of the control group where that was longest."""
    groups = own_groups("cpu", root)
    name, unit_s = ("throttled_usec", 1e-6) if groups.version == 2 else ("throttled_time", 1e-9)
    tables = (text_of(folder / "cpu.stat").splitlines() for folder in groups.folders)
    found = (int_of(line.split()[-1]) or 0 for lines in tables for line in lines if line.startswith(f"{name} "))
    return max(found, default=0) * unit_s


def _throttles(root: Path) -> int:
    counters = root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    return sum(int_of(text_of(counter)) or 0 for counter in counters)
