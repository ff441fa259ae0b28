"""A GPU that is left alone until the fork: whoever has spoken to CUDA cannot have children that do.

Libraries ask for the GPU while they are imported. Whether there is one makes CUDA's runtime initialise the driver, and
what it can do initialises all of it; bitsandbytes and torchao ask both, and diffusers and transformers import them. In
the template the first is answered by NVML, as torch offers it, and the second by what the probe has seen. Where one
asks for more, or the GPUs are not alike, a trial finds itself unable to use the GPU, and begins anew as a process that
shares nothing with the template: it then takes as long to start as an interpreter and its imports do.

Source: https://docs.pytorch.org/docs/stable/notes/multiprocessing.html (poison fork in multiprocessing); torch 2.13,
`cuda/__init__.py` (`is_available`, `device_count`); bitsandbytes 0.50, `cuda_specs.py`; torchao 0.18, `utils.py`
(`is_sm_at_least_100`), called by `prototype/mx_formats/kernels.py`
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...probes.machine import Machine

BY_NVML = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
CAPABILITY = "AUTOTUNE_COMPUTE_CAPABILITY"


def told(machine: Machine) -> dict[str, str]:
    """Return the variables by which a template knows a machine's GPUs: empty where there are none, or unlike ones."""
    capabilities = {each.compute_capability for each in machine.accelerators if each.kind == "cuda"}
    known = [".".join(map(str, capability)) for capability in capabilities if capability]
    return {CAPABILITY: known[0]} if len(known) == len(capabilities) == 1 else {}


@contextmanager
def untouched() -> Iterator[None]:
    """Let what asks for the compute capability have the answer that this process was told, if it was."""
    known = os.environ.get(CAPABILITY)
    if not known:
        yield
        return
    import torch

    major, minor = map(int, known.split("."))
    ask = torch.cuda.get_device_capability
    torch.cuda.get_device_capability = lambda device=None: (major, minor)  # noqa: ARG005 - all are alike
    try:
        yield
    finally:
        torch.cuda.get_device_capability = ask


def was_touched() -> bool:
    """Return whether this process was forked from one that had spoken to a GPU, and cannot."""
    torch = sys.modules.get("torch")
    devices = (getattr(torch, name, None) for name in ("cuda", "xpu"))
    tells = (getattr(device, "_is_in_bad_fork", None) for device in devices)
    return any(cut_off() for cut_off in tells if cut_off)
