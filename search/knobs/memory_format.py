"""Memory format: whether the channels of a pixel lie together, as convolutions like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Only convolutions care, and denoisers that are transformers have hardly any."""
    del choice
    if not setting.card.has("unet"):
        return f"channels_last is for convolutions, and the denoiser is a {setting.card.denoiser.class_name}"
    return None


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Lay out the weights of the UNet and the VAE with the channels last.

    Source: https://huggingface.co/docs/diffusers/optimization/memory (channels-last memory format)
    """
    del choices, bench
    import torch

    for name in ("unet", "vae"):
        getattr(pipe, name).to(memory_format=torch.channels_last)


MEMORY_FORMAT = Knob(
    name="memory_format",
    says="weights and activations of convolutions with their channels last",
    choices=("contiguous", "channels_last"),
    default="contiguous",
    source="https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html",
    refuses=refuses,
    apply=apply,
)
