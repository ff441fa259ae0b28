"""Attention: which kernel multiplies queries, keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...probes.classes import abilities
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice

BACKENDS = {
    "eager": "_native_math",
    "native_flash": "_native_flash",
    "native_efficient": "_native_efficient",
    "native_cudnn": "_native_cudnn",
    "flex": "flex",
    "flash": "flash",
    "flash_varlen": "flash_varlen",
    "flash_3": "_flash_3",
    "flash_varlen_3": "_flash_varlen_3",
    "sage": "sage",
    "sage_varlen": "sage_varlen",
    "sage_fp8": "_sage_qk_int8_pv_fp8_cuda",
    "sage_fp8_sm90": "_sage_qk_int8_pv_fp8_cuda_sm90",
    "sage_fp16": "_sage_qk_int8_pv_fp16_cuda",
    "sage_fp16_triton": "_sage_qk_int8_pv_fp16_triton",
    "xformers": "xformers",
}
"""What diffusers' dispatcher calls each; `native` is what it takes by itself, and `*_hub` would download code."""

SAGE = frozenset(name for name in BACKENDS if name.startswith("sage"))
HALF = frozenset(name for name in BACKENDS if name.startswith("flash")) | {"sage", "sage_varlen", "native_cudnn"}
"""Kernels in half precision only (diffusers 0.42, `_check_qkv_dtype_bf16_or_fp16`); on a CPU, native_flash is not."""

UNMASKED = frozenset({"native_flash", "flash", "flash_3"}) | SAGE - {"sage_varlen"}
MASKING = ("LTXVideoTransformer3DModel",)
"""Denoisers that always give their attention a mask, which the kernels above do not take (seen by running)."""


def refuses(choice: Choice, setting: Setting) -> str | None:
    """A UNet has its processors; other denoisers a choice of kernels where they ask the dispatcher for one."""
    denoiser = setting.card.denoiser.class_name
    if setting.card.has("unet") and not abilities(denoiser).dispatches:
        return _refused_by_unet(str(choice), setting)
    if not abilities(denoiser).dispatches:
        return f"a {denoiser} calls torch's SDPA itself, so that another kernel would change nothing there"
    if denoiser in MASKING and choice in UNMASKED:
        return f"{choice} takes no mask, and a {denoiser} gives its attention one"
    found = setting.kernels(setting.device)
    return found.get("*") or found.get(BACKENDS[str(choice)], "the installed diffusers has no such kernel") or None


def _refused_by_unet(choice: str, setting: Setting) -> str | None:
    if choice == "eager":
        return None
    if choice != "xformers":
        return "a UNet's attention calls torch's SDPA itself, so that another kernel would change nothing there"
    if setting.device != "cuda":
        return f"xformers is made of CUDA kernels, and this is {setting.device}"
    installed = "xformers" in setting.machine.software.versions
    return None if installed else "needs xformers, which is not installed"


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Set the kernel of the denoiser alone; `eager` is attention from before SDPA, to see what that buys.

    Of the kernels, eager, native_flash and flex have been run by the maintainers, who have no GPU yet. Sage with
    inductor has given black images on some GPUs (SageAttention#162), which a trial notices.
    Source: diffusers 0.42, `models/modeling_utils.py` (`set_attention_backend`), `models/attention_processor.py`
    """
    choice, denoiser = str(choices["attention"]), getattr(pipe, bench.card.denoiser.name)
    if abilities(bench.card.denoiser.class_name).dispatches:
        denoiser.set_attention_backend(BACKENDS[choice])
    elif choice == "xformers":
        denoiser.enable_xformers_memory_efficient_attention()
    else:
        from diffusers.models.attention_processor import AttnProcessor

        denoiser.set_attn_processor(AttnProcessor())


ATTENTION = Knob(
    name="attention",
    says="the kernel of the denoiser's attention; torch's SDPA if left alone",
    choices=("default", *BACKENDS),
    default="default",
    lossy=SAGE,
    source="https://huggingface.co/docs/diffusers/optimization/attention_backends",
    refuses=refuses,
    apply=apply,
)
