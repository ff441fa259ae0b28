"""Stand-ins for `pynvml` and `torch`: small modules that are written into a folder and handed to the child."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

GIB = 2**30

HEALTHY = """
import os, signal, subprocess, sys, time

class NVMLError(Exception): pass
class NVMLError_LibraryNotFound(NVMLError): pass
class NVMLError_NotSupported(NVMLError): pass
class NVMLError_GpuIsLost(NVMLError): pass

class Memory:
    total, free = 24 * 2**30, 20 * 2**30

def nvmlInit(): pass
def nvmlSystemGetDriverVersion(): return "580.173.02"
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return "NVIDIA GeForce RTX 4090"
def nvmlDeviceGetUUID(handle): return f"GPU-5ecret-{handle}"
def nvmlDeviceGetMemoryInfo(handle): return Memory
def nvmlDeviceGetCudaComputeCapability(handle): return (8, 9)
def nvmlDeviceGetMigMode(handle): raise NVMLError_NotSupported("Not Supported")
"""

LOST_HANDLE = """
def nvmlDeviceGetHandleByIndex(index):
    if index == 1: raise NVMLError_GpuIsLost("GPU is lost")
    return index
"""
LOST_FACTS = """
def nvmlDeviceGetName(handle):
    if handle == 1: raise NVMLError_GpuIsLost("GPU is lost")
    return "NVIDIA GeForce RTX 4090"
def nvmlDeviceGetMemoryInfo(handle):
    if handle == 1: raise NVMLError_GpuIsLost("GPU is lost")
    return Memory
"""
UNIFIED = """
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetName(handle): return "NVIDIA GB10"
def nvmlDeviceGetMemoryInfo(handle): raise NVMLError_NotSupported("Not Supported")
def nvmlDeviceGetCudaComputeCapability(handle): return (12, 1)
"""
MIG = """
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetMigMode(handle): return [1, 1]
"""
OLD_BYTES = """
def nvmlSystemGetDriverVersion(): return b"390.157"
def nvmlDeviceGetName(handle): return b"Quadro"
def nvmlDeviceGetUUID(handle): return b"GPU-5ecret-%d" % handle
del nvmlDeviceGetMigMode
"""
CHATTY = """
print("NVML: hello", flush=True)
def nvmlInit():
    os.write(1, b"{} driver says things \\xff\\n" * 100_000)
"""

CRASHES: dict[str, tuple[str, str]] = {
    "segfault": ("def nvmlInit(): os.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV)"),
    "abort in the middle": ("def nvmlDeviceGetUUID(handle): os.abort()", "crashed (SIGABRT)"),
    "exit": ("def nvmlInit(): os._exit(7)", "failed (exit status 7)"),
    "quiet exit": ("def nvmlInit(): os._exit(0)", "nonsense"),
    "error that is not its own": ("def nvmlInit(): raise MemoryError", "failed (exit status 1)"),
    "does not import": ("raise SyntaxError", "failed (exit status 1)"),
    "wrong types": ("def nvmlDeviceGetName(handle): return 42", "nonsense"),
    "negative memory": ("Memory.total = -1", "nonsense"),
    "not for json": ("def nvmlSystemGetDriverVersion(): return object()", "failed (exit status 1)"),
}


def folder_with(folder: Path, name: str, source: str) -> Path:
    """Write the module `name` into `folder` and return it, for the child's path."""
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return folder


def driver(source: str) -> ModuleType:
    """Return a healthy `pynvml` with `source` put on top, for use in this process."""
    module = ModuleType("pynvml")
    exec(HEALTHY + source, vars(module))  # noqa: S102 - the very source that the child imports
    return module


TORCH = """
class _Devices:
    def __init__(self, *devices): self._devices = devices
    def is_available(self): return bool(self._devices)
    def device_count(self): return len(self._devices)
    def get_device_properties(self, index): return self._devices[index]
    def mem_get_info(self, index): return (3 * 2**30, self._devices[index].total_memory)

class _Told:
    def __init__(self, **told): vars(self).update(told)

class _Metal:
    def is_available(self): return False
    def get_name(self): return "Apple M2 Max"
    def recommended_max_memory(self): return 48 * 2**30

version = _Told(hip=None)
cuda, xpu, mps = _Devices(), _Devices(), _Metal()
backends = _Told(mps=mps)
"""
ROCM = """
version.hip = "6.4.2"
cuda = _Devices(
    _Told(name="AMD Instinct MI210", gcnArchName="gfx90a:sramecc+:xnack-", uuid="a", total_memory=64 * 2**30),
    _Told(name="AMD Radeon 780M", gcnArchName="gfx1103", uuid="b", total_memory=16 * 2**30, is_integrated=1),
)
"""
XPU = """
class _Sphinx(_Devices):
    def mem_get_info(self, index): raise RuntimeError("this device does not tell its free memory")
xpu = _Sphinx(_Told(name="Intel(R) Arc(TM) B580", driver_version="1.6", uuid=object(), total_memory=12 * 2**30))
"""
METAL = """
mps.is_available = lambda: True
"""
SICK_ROCM = (
    XPU
    + """
version.hip = "6.4.2"
def _sick(): raise RuntimeError("HIP error: no ROCm-capable device is detected\\nCompile with `TORCH_USE_HIP_DSA`")
cuda.is_available = _sick
"""
)
