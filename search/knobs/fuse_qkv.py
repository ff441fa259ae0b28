"""Fused projections: one matrix for queries, keys and values instead of three."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...probes.classes import abilities, says
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice

USES_FUSED = r"\.fused_projections|Fused\w*AttnProcessor"
"""How the attention of a denoiser looks that multiplies by the fused matrix once there is one."""


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Many denoisers have the method without attention that goes by it: fusing them changes nothing but memory.

    LTXVideoTransformer3DModel makes the matrix and never reads it, SanaTransformer2DModel does not even make it.
    """
    del choice
    denoiser = setting.card.denoiser.class_name
    if "fuse_qkv_projections" not in abilities(denoiser).methods:
        return f"{denoiser} has no fuse_qkv_projections"
    if not says(denoiser, USES_FUSED):
        return f"the attention of {denoiser} does not use fused projections"
    return None


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Fuse the projections of the denoiser, and with a UNet's the VAE's. The old matrices stay in memory.

    Source: diffusers 0.42, `models/attention.py` (`fuse_projections`), from
    https://github.com/huggingface/diffusion-fast
    """
    del choices
    if bench.card.has("unet"):
        pipe.fuse_qkv_projections(vae=type(pipe.vae).__name__ == "AutoencoderKL")
    else:
        for denoiser in (pipe.transformer, getattr(pipe, "transformer_2", None)):
            if denoiser is not None:
                denoiser.fuse_qkv_projections()


FUSE_QKV = Knob(
    name="fuse_qkv",
    says="one matrix for the queries, keys and values of attention",
    choices=(False, True),
    default=False,
    source="https://github.com/huggingface/diffusion-fast",
    refuses=refuses,
    apply=apply,
)
