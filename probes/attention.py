"""Which attention kernels of diffusers' dispatcher run here, found by running each once in a process of its own.

That imports torch and takes seconds, so that only who tunes asks; a kernel that crashes takes its process along, and
is then not offered. What has to be downloaded first (`*_hub`) is never tried.

Source: diffusers 0.42, `models/attention_dispatch.py`.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Any

from .child import answer, ask_child

TIMEOUT_S = 120
CLOSE = 0.05  # between kernels in 16 or 8 bits, on numbers of a normal distribution


@cache
def attention_kernels(device: str) -> dict[str, str]:
    """Return why each kernel cannot be used on a device; empty for those that can.

    By the dispatcher's names; where nothing could be asked, the only name is `*`, with what went wrong.
    """
    told = ask_child(f"{__spec__.parent}.attention", TIMEOUT_S, arguments=(device,))
    if told.problem:
        return {"*": f"the process that tries attention kernels {told.problem}"}
    found: dict[str, str] = json.loads(told.text)
    return found


def _look() -> dict[str, Any]:
    try:
        import torch
        from diffusers.models.attention_dispatch import AttentionBackendName
    except (ImportError, OSError) as error:
        return {"*": f"diffusers cannot be imported: {_first_line(error)}"}
    device = sys.argv[2]
    names = [each.value for each in AttentionBackendName if not each.value.endswith("_hub")]
    return {name: _why_not(torch, name, device) for name in names}


def _why_not(torch: Any, name: str, device: str) -> str:
    """Return why a kernel fails in single and in half precision, empty where it works in one of them."""
    problem = ""
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        try:
            problem = _problem(torch, name, device, dtype)
        except Exception as error:  # noqa: BLE001 - whatever a library raises says that it cannot
            problem = _first_line(error)
        if not problem:
            break
    return problem


def _problem(torch: Any, name: str, device: str, dtype: Any) -> str:
    """Return what is wrong with a kernel's result. Tensors are of shape (batch, tokens, heads, channels)."""
    from diffusers.models import attention_dispatch

    backend = attention_dispatch.AttentionBackendName(name)
    attention_dispatch._check_attention_backend_requirements(backend)  # noqa: SLF001 - as set_attention_backend does
    torch.manual_seed(0)
    tensors = [torch.randn(1, 64, 2, 64).to(device, dtype) for _ in "qkv"]
    native = attention_dispatch.AttentionBackendName.NATIVE
    wanted = attention_dispatch.dispatch_attention_fn(*tensors, backend=native)
    found = attention_dispatch.dispatch_attention_fn(*tensors, backend=backend)
    apart = float((found.float() - wanted.float()).abs().max())
    return "" if apart < CLOSE else f"its result is {apart:.2g} away from that of torch's SDPA"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    answer(_look)
