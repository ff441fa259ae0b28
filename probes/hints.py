"""Whether it is worth asking a driver, or torch, for devices: signs of them that cost nothing to read."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from .files import text_of

_INTEL, _NVIDIA = "0x8086", "0x10de"
_NVIDIA_FILES = ("proc/driver/nvidia", "dev/nvidia*", "dev/nvhost*", "dev/nvmap", "dev/dxg")


def nvidia_hint(root: Path, system: str) -> bool:
    """Return whether this machine may have an NVIDIA GPU, with a driver that works or without.

    On Linux there is its driver's folder, its device, that of a Jetson or the one by which WSL reaches the GPU of
    Windows; or a card, though no driver was loaded for it. On Windows there is no sign to read.

    Source: Linux, "vendor" of PCI devices in sysfs; Microsoft, dxgkrnl (/dev/dxg); NVIDIA, Jetson's host1x.
    """
    if system != "linux":
        return system != "darwin"
    has_file = any(any(root.glob(sign)) for sign in _NVIDIA_FILES)
    return has_file or _has_vendor(root, "sys/bus/pci/devices/*/vendor", _NVIDIA)


def device_hints(root: Path, system: str, architecture: str) -> tuple[str, ...]:
    """Return the kinds of device ("rocm", "xpu", "mps") that this machine may have.

    On Windows there is no sign to read, so that ROCm and XPU are not seen there.

    Source: Linux, drivers/gpu/drm/amd/amdkfd (/dev/kfd); Documentation/gpu, "vendor" of PCI devices in sysfs.
    """
    if system == "darwin":
        return ("mps",) if architecture == "arm64" else ()
    if system != "linux":
        return ()
    rocm = ("rocm",) if any(root.glob("dev/kfd")) else ()
    xpu = ("xpu",) if _has_vendor(root, "sys/class/drm/renderD*/device/vendor", _INTEL) else ()
    return (*rocm, *xpu)


def _has_vendor(root: Path, files: str, vendor: str) -> bool:
    return any(text_of(file).strip() == vendor for file in root.glob(files))


def torch_version_file() -> Path | None:
    """Return the file in which torch says what it was built for, without importing torch; None without torch."""
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).with_name("version.py") if spec and spec.origin else None


def built_for(kind: str, version_file: Path) -> bool:
    """Return whether that torch was built for devices of this kind; True where it does not say."""
    name = {"rocm": "hip"}.get(kind, kind)
    line = re.search(rf"^{name}\b[^=\n]*=(.*)$", text_of(version_file), re.MULTILINE)
    return line is None or line[1].strip() != "None"
