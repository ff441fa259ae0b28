"""VAE precision: a decoder that stays in fp32 while the rest of the pipeline computes in half of the digits."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice


def refuses(choice: Choice, setting: Setting) -> str | None:
    """There must be a VAE."""
    del choice
    return None if setting.card.has("vae") else f"{setting.card.pipeline_class} has no VAE"


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Load the VAE in fp32, and everything else as the precision has it."""
    import torch

    from .precision import dtype_of

    del bench
    return {"dtype": {"vae": torch.float32, "default": dtype_of(choices)}}


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Hand the decoder latents in its own format, which only some pipelines do: those of Wan, LTX, Sana and PixArt."""
    del choices, bench
    decode = pipe.vae.decode

    @wraps(decode)
    def in_own_format(latents: Any, *args: Any, **kwargs: Any) -> Any:
        return decode(latents.to(pipe.vae.dtype), *args, **kwargs)

    pipe.vae.decode = in_own_format


VAE_PRECISION = Knob(
    name="vae_precision",
    says="a VAE that stays in fp32: those of SDXL overflow in fp16, and that of Wan is published for fp32",
    choices=("same", "fp32"),
    default="same",
    lossy=frozenset(),
    source="https://huggingface.co/docs/diffusers/api/pipelines/wan; diffusers 0.42, AutoencoderKL's force_upcast",
    refuses=refuses,
    loads=loads,
    apply=apply,
)
