"""Whether it is worth asking torch for devices: signs of them that cost nothing to read."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from .files import text_of

_INTEL = "0x8086"


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
    vendors = root.glob("sys/class/drm/renderD*/device/vendor")
    xpu = ("xpu",) if any(text_of(vendor).strip() == _INTEL for vendor in vendors) else ()
    return (*rocm, *xpu)


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
