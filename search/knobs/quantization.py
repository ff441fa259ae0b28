"""Quantization: the denoiser's weights, and perhaps its activations, in fewer bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import bitsandbytes, torchao
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice

LIBRARY = {
    "torchao_int8_weight_only": ("torchao", "quant"),
    "torchao_int8_dynamic": ("torchao", "quant"),
    "bnb_int8": ("bitsandbytes", "quant"),
    "bnb_nf4": ("bitsandbytes", "quant"),
    "nncf_int8": ("nncf", "cpu"),
}


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Each kind needs its library; NNCF works on what OpenVINO runs, which is the CPU."""
    if choice == "none":
        return None
    if choice == "nncf_int8" and setting.device != "cpu":
        return "NNCF quantizes what OpenVINO runs, and here that is the CPU"
    return setting.lacks(*LIBRARY[str(choice)])


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return what makes diffusers quantize while it loads, for the kinds that it knows on this device."""
    kind, denoiser = str(choices["quantization"]), bench.card.denoiser.name
    if kind.startswith("torchao"):
        return torchao.loads(kind, denoiser)
    if kind.startswith("bnb") and bench.device != "cpu":
        return bitsandbytes.loads(kind, denoiser)
    return {}


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Quantize what diffusers could not while loading; NNCF's share is done where OpenVINO converts."""
    kind = str(choices["quantization"])
    if kind.startswith("bnb") and bench.device == "cpu":
        bitsandbytes.apply(getattr(pipe, bench.card.denoiser.name), kind)


QUANTIZATION = Knob(
    name="quantization",
    says="the denoiser's weights (int8 dynamic and NNCF: activations too) in fewer bits",
    choices=("none", *LIBRARY),
    default="none",
    lossy=frozenset(LIBRARY),
    source="https://huggingface.co/docs/diffusers/quantization/overview",
    refuses=refuses,
    loads=loads,
    apply=apply,
)
