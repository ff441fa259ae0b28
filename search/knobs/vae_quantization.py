"""VAE: its decoding in int8, which on a CPU is a quarter of an image's time; or its weights kept in fp8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knob import Bench, Choices, Knob, Setting
from .quantization import cannot, quantize

if TYPE_CHECKING:
    from ...probes.model import Component, ModelCard
    from ..recipe import Choice

KINDS = ("fp8_storage", "nncf_int8", "nncf_int8_weights")
"""A VAE is convolutions: what quantizes linear layers, as torchao and bitsandbytes do, finds next to none in it."""


def refuses(choice: Choice, setting: Setting) -> str | None:
    """There must be a VAE, and NNCF works on what OpenVINO runs."""
    if not setting.card.has("vae"):
        return f"{setting.card.pipeline_class} has no VAE"
    return cannot(str(choice), _vae(setting.card), setting)


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Store its weights in fp8; NNCF's share is done where OpenVINO converts."""
    quantize(pipe, str(choices["vae_quantization"]), _vae(bench.card), bench)


def _vae(card: ModelCard) -> list[Component]:
    return [each for each in card.components if each.name == "vae"]


VAE_QUANTIZATION = Knob(
    name="vae_quantization",
    says="the VAE's weights stored in fp8, or its decoding in int8: weights alone, or activations too",
    choices=("none", *KINDS),
    default="none",
    lossy=frozenset(KINDS),
    source="https://docs.openvino.ai, NNCF post-training quantization; diffusers, layerwise casting",
    refuses=refuses,
    apply=apply,
)
