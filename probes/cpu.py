"""The CPU: what it is, which instructions it has, and how much of it this process may use."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from ..value import Value
from .cgroup import own_groups
from .files import ROOT, int_of, text_of

ARCHITECTURE = platform.machine()
UNKNOWN = "unknown"

FEATURES = frozenset(
    (
        *("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8"),
        *("neon", "asimd", "bf16", "i8mm", "sve"),
    )
)
"""The instructions that decide what is fast, by the names that Linux gives them."""

_SYSCTL_FEATURES = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.neon": "neon",
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
}

_ARM_CORES = {
    ("0x41", "0xd0c"): "Arm Neoverse-N1",
    ("0x41", "0xd40"): "Arm Neoverse-V1",
    ("0x41", "0xd49"): "Arm Neoverse-N2",
    ("0x41", "0xd4f"): "Arm Neoverse-V2",
    ("0xc0", "0xac3"): "Ampere-1",
}
"""What (implementer, part) in cpuinfo stand for. Source: util-linux, sys-utils/lscpu-arm.c."""


class Cpu(Value):
    """A CPU, as this process sees it."""

    model_name: str
    """"unknown" where the system does not tell."""
    architecture: str
    """As the system says it: "x86_64", "aarch64", "arm64"."""
    allowed_cores: int = Field(ge=1)
    """Logical cores that this process may keep busy: its affinity or its CPU quota, whichever is less."""
    physical_cores: int | None = Field(ge=1)
    logical_cores: int = Field(ge=1)
    features: tuple[str, ...]
    """Those of `FEATURES` that every core has, sorted."""


def sysctl() -> str:
    """Return everything that macOS tells of itself, "name: value" a line, or "" where there is no sysctl."""
    try:
        found = subprocess.run(["/usr/sbin/sysctl", "-a"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.decode(errors="replace")


def probe_cpu(
    root: Path = ROOT,
    *,
    system: str = sys.platform,
    architecture: str = ARCHITECTURE,
    affinity_cores: int | None = None,
    ask_sysctl: Callable[[], str] = sysctl,
) -> Cpu:
    """Return the CPU. What the system does not tell is "unknown", None or empty; nothing is raised.

    affinity_cores: how many cores the scheduler may place this process on; None asks the system.

    On Linux from /proc/cpuinfo, on macOS from `sysctl -a`; elsewhere only counts are known. The macOS part was
    written from Apple's documentation and has not run on a Mac.

    Source: man 5 proc_cpuinfo; Linux, Documentation/admin-guide/cgroup-v2.rst, "cpu.max"; Apple, "Determining
    instruction set characteristics".
    """
    affinity_cores = _affinity_cores() if affinity_cores is None else affinity_cores
    allowed_cores = max(1, min(affinity_cores, quota_cores(root) or affinity_cores))
    if system == "darwin":
        return _from_sysctl(ask_sysctl(), architecture, allowed_cores)
    return _from_cpuinfo(root, architecture, allowed_cores)


def quota_cores(root: Path = ROOT) -> int | None:
    """Return the CPU quota of this process's control groups in whole cores, rounded up; None where there is none."""
    groups = own_groups("cpu", root)
    quotas = (_quota_cores(folder, groups.version) for folder in groups.folders)
    return min((cores for cores in quotas if cores is not None), default=None)


def _quota_cores(folder: Path, version: int) -> int | None:
    if version == 2:
        quota, period = [*text_of(folder / "cpu.max").split(), "", ""][:2]
    else:
        quota, period = text_of(folder / "cpu.cfs_quota_us"), text_of(folder / "cpu.cfs_period_us")
    quota_us, period_us = int_of(quota) or 0, int_of(period) or 0
    return -(-quota_us // period_us) if quota_us > 0 and period_us > 0 else None


def _affinity_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _from_cpuinfo(root: Path, architecture: str, allowed_cores: int) -> Cpu:
    cores = [core for core in map(_fields, text_of(root / "proc/cpuinfo").split("\n\n")) if "processor" in core]
    features = [frozenset((core.get("flags") or core.get("Features", "")).split()) for core in cores]
    return Cpu(
        model_name=_model_name(cores[0]) if cores else UNKNOWN,
        architecture=architecture,
        allowed_cores=allowed_cores,
        physical_cores=_physical_cores(cores, root),
        logical_cores=len(cores) or os.cpu_count() or 1,
        features=tuple(sorted(FEATURES.intersection(*features))) if features else (),
    )


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _model_name(core: dict[str, str]) -> str:
    implementer, part = core.get("CPU implementer"), core.get("CPU part")
    if core.get("model name"):
        return core["model name"]
    if implementer and part:  # 64-bit Arm kernels do not put the name into words
        return _ARM_CORES.get((implementer, part), f"Arm implementer {implementer} part {part}")
    return UNKNOWN


def _physical_cores(cores: list[dict[str, str]], root: Path) -> int | None:
    """Return how many cores there are without hyperthreads; Arm's cpuinfo has no core ids, so sysfs is asked there."""
    places: set[object] = {(core.get("physical id"), core.get("core id")) for core in cores if "core id" in core}
    if not places:
        files = root.glob("sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list")
        places = set(filter(None, map(text_of, files)))
    return len(places) or None


def _from_sysctl(text: str, architecture: str, allowed_cores: int) -> Cpu:
    told = _fields(text)
    return Cpu(
        model_name=told.get("machdep.cpu.brand_string") or UNKNOWN,
        architecture=architecture,
        allowed_cores=allowed_cores,
        physical_cores=max(0, int_of(told.get("hw.physicalcpu", "")) or 0) or None,
        logical_cores=max(0, int_of(told.get("hw.logicalcpu", "")) or 0) or os.cpu_count() or 1,
        features=tuple(sorted({feature for name, feature in _SYSCTL_FEATURES.items() if told.get(name) == "1"})),
    )
