"""VAE: its decoding in int8. On a CPU it is a quarter of an image's time, once the denoiser is fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .knob import Knob, Setting
from .quantization import cannot

if TYPE_CHECKING:
    from ..recipe import Choice

KINDS = ("nncf_int8", "nncf_int8_weights")
"""A VAE is convolutions: what quantizes linear layers, as torchao and bitsandbytes do, finds next to none in it."""


def refuses(choice: Choice, setting: Setting) -> str | None:
    """There must be a VAE, and NNCF works on what OpenVINO runs."""
    if not setting.card.has("vae"):
        return f"{setting.card.pipeline_class} has no VAE"
    return cannot(str(choice), setting)


VAE_QUANTIZATION = Knob(
    name="vae_quantization",
    says="the VAE's decoding in int8: weights alone, or activations too",
    choices=("none", *KINDS),
    default="none",
    lossy=frozenset(KINDS),
    source="https://docs.openvino.ai, NNCF post-training quantization",
    refuses=refuses,
)
