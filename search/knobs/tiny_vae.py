"""Tiny VAE: a distilled autoencoder decodes, where the user allows the model to be changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice


def refuses(choice: Choice, setting: Setting) -> str | None:
    """It must be allowed and there, and take the place of the VAE that it was distilled from."""
    del choice
    vaes = [each for each in setting.card.components if each.name == "vae"]
    if [vae.class_name for vae in vaes] != ["AutoencoderKL"]:
        return f"a tiny VAE takes the place of an AutoencoderKL, and {setting.card.pipeline_class} has none"
    return setting.added.lacks("tiny_vae")


def prepares(choices: Choices, bench: Bench) -> Bench:
    """Put it on the card."""
    del choices
    found = bench.added.tiny_vae
    return replace(bench, card=bench.card.with_component(found)) if found else bench


TINY_VAE = Knob(
    name="tiny_vae",
    says="a distilled autoencoder in the place of the VAE; only with --allow distilled",
    choices=(False, True),
    default=False,
    lossy=frozenset({True}),
    source="https://huggingface.co/docs/diffusers/api/models/autoencoder_tiny; github.com/madebyollin/taesd",
    refuses=refuses,
    prepares=prepares,
)
