"""Accelerators: what GPUs there are. Whoever is asked for them is asked in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from ..value import Value
from .child import Answer, ask_child
from .cpu import ARCHITECTURE
from .files import ROOT
from .hints import built_for, device_hints, nvidia_hint, torch_version_file
from .memory import Memory, probe_memory

NVIDIA_TIMEOUT_S = 5.0
DEVICES_TIMEOUT_S = 60.0

_FAMILIES = {"rocm": ("An AMD GPU", "ROCm"), "xpu": ("An Intel GPU", "XPU"), "mps": ("An Apple GPU", "MPS")}


class Accelerator(Value):
    """A GPU."""

    kind: Literal["cuda", "rocm", "xpu", "mps"]
    index: int = Field(ge=0)
    """As torch counts: the first one is where a pipeline runs."""
    name: str
    uuid_hash: str | None = None
    """Tells two GPUs of the same name apart without telling which they are."""
    total_bytes: int = Field(ge=0)
    """0 where it is not known, so that nothing is believed to fit."""
    free_bytes: int | None = Field(default=None, ge=0)
    compute_capability: tuple[int, int] | None = None
    """(major, minor), for NVIDIA only: the numbers of others would mean something else."""
    driver: str | None = None
    mig: bool = False
    """Split into parts (Multi-Instance GPU): a process gets one of them, and the memory shown is that of all."""
    unified_memory: bool = False
    """Its memory is the machine's RAM: what one takes the other lacks."""


class Sighting(Value):
    """What was seen, and in sentences what could not be."""

    accelerators: tuple[Accelerator, ...] = ()
    notes: tuple[str, ...] = ()


def probe_nvidia(
    timeout_s: float = NVIDIA_TIMEOUT_S,
    *,
    hint: bool | None = None,
    pythonpath: Sequence[Path] = (),
    ask_memory: Callable[[], Memory] = probe_memory,
) -> Sighting:
    """Return the NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves, in its order; nothing is raised.

    Without a driver there is none, and no note. A driver that hangs for `timeout_s`, crashes, refuses or talks
    nonsense gives none and a note.

    hint: whether there may be one; None looks for signs, and where there is none the driver is not asked.
    pythonpath: folders where the child looks for `pynvml` first.
    """
    if not (nvidia_hint(ROOT, sys.platform) if hint is None else hint):
        return Sighting()
    answer = ask_child("autotune.probes.nvidia", timeout_s, pythonpath)
    return _sighting(answer, "NVML", "so NVIDIA GPUs are not seen; check `nvidia-smi`", ask_memory)


def probe_devices(
    timeout_s: float = DEVICES_TIMEOUT_S,
    *,
    hints: Sequence[str] | None = None,
    version_file: Path | None = None,
    pythonpath: Sequence[Path] = (),
    ask_memory: Callable[[], Memory] = probe_memory,
) -> Sighting:
    """Return the GPUs that only torch can ask: those of AMD, Intel and Apple; nothing is raised.

    This takes seconds where there is a sign of such a GPU and torch was built for it, and nothing elsewhere.

    hints: the kinds that may be there; None looks for signs.
    version_file: where torch says what it was built for; None looks for it.
    """
    kinds = device_hints(ROOT, sys.platform, ARCHITECTURE) if hints is None else hints
    version_file = version_file or torch_version_file()
    notes = {kind: _why_not(kind, version_file) for kind in kinds}
    unasked = tuple(filter(None, notes.values()))
    if len(unasked) == len(kinds):
        return Sighting(notes=unasked)
    answer = ask_child("autotune.probes.devices", timeout_s, pythonpath)
    names = " and ".join(_FAMILIES[kind][1] for kind in kinds if not notes[kind])
    seen = _sighting(answer, "torch", f"so {names} devices are not seen", ask_memory)
    return Sighting(accelerators=seen.accelerators, notes=(*unasked, *seen.notes))


def _why_not(kind: str, version_file: Path | None) -> str:
    """Return why torch need not be asked for devices of this kind, or ""."""
    device, family = _FAMILIES[kind]
    if version_file is None:
        return f"{device} may be here, but torch is not installed, so it is not seen."
    if not built_for(kind, version_file):
        return f"{device} may be here, but the installed torch was not built for {family}, so it is not used."
    return ""


def _sighting(answer: Answer, subject: str, consequence: str, ask_memory: Callable[[], Memory]) -> Sighting:
    if answer.problem:
        return Sighting(notes=(f"{subject} {answer.problem}, {consequence}.",))
    try:
        seen = Sighting.model_validate_json(answer.text)
    except ValidationError:
        return Sighting(notes=(f"{subject} answered with nonsense, {consequence}.",))
    accelerators = (_with_ram(gpu, ask_memory()) if gpu.unified_memory else gpu for gpu in seen.accelerators)
    return Sighting(accelerators=tuple(accelerators), notes=seen.notes)


def _with_ram(gpu: Accelerator, ram: Memory) -> Accelerator:
    """Return a GPU without memory of its own with what the RAM has for it."""
    total_bytes = gpu.total_bytes or ram.total_bytes
    free_bytes = ram.free_bytes if gpu.free_bytes is None else min(gpu.free_bytes, ram.free_bytes)
    return gpu.model_copy(update={"total_bytes": total_bytes, "free_bytes": min(free_bytes, total_bytes)})
