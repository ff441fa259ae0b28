"""VAE compilation: the decoder as machine code of its own, whatever becomes of the denoiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...probes.classes import abilities
from .inductor import lacks_compiler
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice


def refuses(choice: Choice, setting: Setting) -> str | None:
    """There must be a VAE whose class keeps its decoder by that name, and a compiler."""
    del choice
    vae = setting.card.component("vae")
    if vae is None:
        return f"{setting.card.pipeline_class} has no VAE"
    if "decoder" not in abilities(vae.class_name).attributes:
        return f"{vae.class_name} keeps no decoder that could be compiled"
    return lacks_compiler(setting)


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Compile the decoder in place: `vae.decode` calls it, for each tile and frame if it works in such.

    It runs once an image, so that its seconds of compiling pay late; and it may take more memory than uncompiled.
    Source: https://github.com/huggingface/diffusion-fast; diffusers#12082 (memory, Wan)
    """
    del choices, bench
    pipe.vae.decoder.compile()


VAE_COMPILE = Knob(
    name="vae_compile",
    says="inductor on the VAE's decoder",
    choices=(False, True),
    default=False,
    source="https://github.com/huggingface/diffusion-fast",
    refuses=refuses,
    apply=apply,
)
