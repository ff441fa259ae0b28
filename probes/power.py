"""The energy that a device has taken since some beginning, where it can be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .child import Answer, ask_child
from .files import ROOT, int_of, text_of

TIMEOUT_S = 5.0
UNREADABLE = {
    "cpu": "the CPU's counter (/sys/class/powercap/intel-rapl:*/energy_uj) is not there, or only root may read it",
    "cuda": "NVML does not tell it (`nvidia-smi` must, and the GPU must be Volta or newer)",
}


def energy_j(
    device: str, root: Path = ROOT, ask: Callable[[str, float], Answer] = ask_child
) -> tuple[float, ...] | None:
    """Return the joules that each package or GPU has taken; None where that cannot be read. Subtract with `spent_j`.

    device: as torch calls it: "cpu", "cuda".

    Source: Linux, Documentation/power/powercap/powercap.rst; since CVE-2020-8694 only root reads it by default. NVML,
    nvmlDeviceGetTotalEnergyConsumption.
    """
    if device == "cpu":
        packages = sorted((root / "sys/class/powercap").glob("intel-rapl:[0-9]"))
        counters = [int_of(text_of(package / "energy_uj")) for package in packages]
        read = [counter / 1e6 for counter in counters if counter is not None]
        return tuple(read) if read and len(read) == len(packages) else None
    if device.startswith("cuda"):
        told = ask("autotune.probes.nvidia_energy", TIMEOUT_S)
        return tuple(json.loads(told.text)["joules"]) or None if told.text else None
    return None


def spent_j(before: tuple[float, ...], after: tuple[float, ...], root: Path = ROOT) -> float:
    """Return what was taken between two readings of one device. A package's counter begins anew at its end."""
    total = 0.0
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        text = text_of(root / f"sys/class/powercap/intel-rapl:{number}/max_energy_range_uj")
        total += other - one if other >= one else other - one + (int_of(text) or 0) / 1e6
    return total


def why_unreadable(device: str) -> str:
    """Return why no energy is read, for a sentence."""
    return UNREADABLE.get(device.partition(":")[0], f"nothing is known that tells it for {device}")
