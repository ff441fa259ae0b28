"""NVIDIA GPUs, as NVML sees them: the program that runs in a process of its own.

`python -m autotune.probes.nvidia` prints a `Sighting` as JSON. NVML may hang with its driver, and may kill whoever
asks when a GPU has fallen off the bus (XuehaiPan/nvitop#139), so nobody else imports `pynvml`.

Source: NVIDIA, NVML API Reference Guide; module `pynvml` of the distribution nvidia-ml-py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from .child import answer
from .nvidia_visible import surprises, text_of, visible

ADVICE = "so NVIDIA GPUs are not seen; check `nvidia-smi`."

_QUESTIONS = {
    "name": "nvmlDeviceGetName",
    "uuid": "nvmlDeviceGetUUID",
    "memory": "nvmlDeviceGetMemoryInfo",
    "compute capability": "nvmlDeviceGetCudaComputeCapability",
    "MIG mode": "nvmlDeviceGetMigMode",
}

_DRIVER = "/proc/driver/nvidia/version"


def look(nvml: Any, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return what `nvml` tells, as the content of a `Sighting`: no driver, no GPUs and no note."""
    try:
        nvml.nvmlInit()
        shown = visible(nvml, environment)
        unexpected = surprises(nvml, shown, environment)
    except nvml.NVMLError_LibraryNotFound:
        return {"accelerators": [], "notes": []}
    except nvml.NVMLError as error:
        return {"accelerators": [], "notes": [f'NVML says "{error}", {ADVICE}']}
    driver, notes = _driver(nvml)
    accelerators = []
    for place, index in enumerate(shown):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            notes.append(f'NVIDIA GPU {index} is left out: NVML says "{error}"; check `nvidia-smi`.')
            continue
        facts, refusals = _asked(nvml, handle)
        accelerators.append({**_accelerator(nvml, facts, refusals), "index": place, "driver": driver})
        notes.extend(_notes(nvml, index, facts, refusals))
    return {"accelerators": accelerators, "notes": [*notes, *unexpected]}


def _driver(nvml: Any) -> tuple[str | None, list[str]]:
    try:
        return text_of(nvml.nvmlSystemGetDriverVersion()), []
    except nvml.NVMLError as error:
        return None, [f'The version of the NVIDIA driver is not known: NVML says "{error}".']


def _asked(nvml: Any, handle: Any) -> tuple[dict[str, Any], dict[str, Exception]]:
    """Return each fact that the GPU tells, and why it does not tell the others."""
    facts: dict[str, Any] = {}
    refusals: dict[str, Exception] = {}
    for fact, question in _QUESTIONS.items():
        try:
            facts[fact] = getattr(nvml, question)(handle)
        except (nvml.NVMLError, AttributeError) as error:  # AttributeError: not in this release of nvidia-ml-py
            refusals[fact] = error
    return facts, refusals


def _accelerator(nvml: Any, facts: dict[str, Any], refusals: dict[str, Exception]) -> dict[str, Any]:
    memory = facts.get("memory")
    uuid = facts.get("uuid")
    return {
        "kind": "cuda",
        "name": text_of(facts.get("name", "NVIDIA GPU")),
        "uuid_hash": uuid and hashlib.sha256(text_of(uuid).encode()).hexdigest()[:16],
        "total_bytes": memory.total if memory else 0,
        "free_bytes": memory.free if memory else None,
        "compute_capability": facts.get("compute capability"),
        "mig": _in_mig_mode(facts),
        "unified_memory": _shares_ram(nvml, facts, refusals),
    }


def _in_mig_mode(facts: dict[str, Any]) -> bool:
    return list(facts.get("MIG mode", ()))[:1] == [1]  # (current, pending)


def _shares_ram(nvml: Any, facts: dict[str, Any], refusals: dict[str, Exception]) -> bool:
    """Return whether the GPU has no memory of its own.

    Such a GPU (GB10, Jetson) answers "Not Supported" when it is asked for its memory: XuehaiPan/nvitop#208,
    kubernetes-sigs/dra-driver-nvidia-gpu#1073. So does one in MIG mode, which has some.
    """
    return isinstance(refusals.get("memory"), nvml.NVMLError_NotSupported) and not _in_mig_mode(facts)


def _notes(nvml: Any, index: int, facts: dict[str, Any], refusals: dict[str, Exception]) -> list[str]:
    expected = {"MIG mode"} if isinstance(refusals.get("MIG mode"), nvml.NVMLError_NotSupported) else set()
    expected |= {"memory"} if _shares_ram(nvml, facts, refusals) else set()
    reasons: dict[str, list[str]] = {}
    for fact, error in refusals.items():
        if fact not in expected:
            reasons.setdefault(str(error), []).append(fact)
    notes = [
        f'NVIDIA GPU {index} does not tell its {", ".join(untold)}: NVML says "{reason}".'
        for reason, untold in reasons.items()
    ]
    if _in_mig_mode(facts):
        notes.append(f"NVIDIA GPU {index} is in MIG mode: a process gets one of its parts, and less than is shown.")
    return notes


def _look() -> dict[str, Any]:
    try:
        import pynvml
    except ImportError:
        there = os.path.exists(_DRIVER)  # noqa: PTH110 - pathlib would cost the child more than the question
        missing = f"An NVIDIA driver is loaded, but nvidia-ml-py is not installed, {ADVICE}"
        return {"accelerators": [], "notes": [missing] if there else []}
    return look(pynvml)


if __name__ == "__main__":
    answer(_look)
