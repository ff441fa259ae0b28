"""Fused projections: one matrix for queries, keys and values instead of three."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Most denoisers can; a few attention classes of diffusers say that theirs cannot, when they are asked."""
    del choice
    if not setting.card.has("unet"):
        return f"not tried with a {setting.card.denoiser.class_name} yet"
    return None


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Fuse the projections of the UNet and the VAE. The three old matrices stay in memory.

    Source: diffusers 0.42, `models/attention.py` (`fuse_projections`), from
    https://github.com/huggingface/diffusion-fast
    """
    del choices, bench
    pipe.fuse_qkv_projections()


FUSE_QKV = Knob(
    name="fuse_qkv",
    says="one matrix for the queries, keys and values of attention",
    choices=(False, True),
    default=False,
    source="https://github.com/huggingface/diffusion-fast",
    refuses=refuses,
    apply=apply,
)
