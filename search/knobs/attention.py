"""Attention: which kernel multiplies queries, keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice

BACKENDS = {
    "eager": "_native_math",
    "cudnn": "_native_cudnn",
    "flash": "flash",
    "sage": "sage",
    "xformers": "xformers",
}
"""What diffusers' dispatcher calls each (0.42, `models/attention_dispatch.py`)."""

LIBRARIES = {"flash": "flash_attn", "sage": "sageattention", "xformers": "xformers"}


def refuses(choice: Choice, setting: Setting) -> str | None:
    """All but the plain one are CUDA kernels; a UNet's processors call torch's own attention and ask no dispatcher."""
    if choice == "eager":
        return None
    if setting.device != "cuda":
        return f"{choice} is made of CUDA kernels, and this is {setting.device}"
    if setting.card.has("unet") and choice != "xformers":
        return "a UNet's attention calls torch's SDPA itself, so that another backend would change nothing there"
    library = LIBRARIES.get(str(choice))
    if library and library not in setting.machine.software.versions:
        return f"needs {library}, which is not installed"
    return None


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Set the backend of the denoiser; `eager` is the processor from before SDPA, to see what that buys.

    Only `eager` has been run by the maintainers, who have no GPU yet.
    Source: diffusers 0.42, `models/modeling_utils.py` (`set_attention_backend`), `models/attention_processor.py`
    """
    choice, denoiser = str(choices["attention"]), getattr(pipe, bench.card.denoiser.name)
    if not bench.card.has("unet"):
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
    lossy=frozenset({"sage"}),
    source="https://huggingface.co/docs/diffusers/optimization/attention_backends",
    refuses=refuses,
    apply=apply,
)
