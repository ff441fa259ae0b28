"""Quantization: the denoiser's weights, and perhaps its activations, in fewer bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import bitsandbytes, torchao
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ...probes.model import Component
    from ..recipe import Choice

LIBRARY = {
    **dict.fromkeys(torchao.CONFIGS, ("torchao", "quant")),
    "bnb_int8": ("bitsandbytes", "quant"),
    "bnb_nf4": ("bitsandbytes", "quant"),
    "bnb_fp4": ("bitsandbytes", "quant"),
    "fp8_storage": ("diffusers", "cpu"),
    "nncf_int8": ("nncf", "cpu"),
    "nncf_int8_weights": ("nncf", "cpu"),
    "nncf_int4_weights": ("nncf", "cpu"),
}


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Each kind needs its library, some a GPU's kernels; NNCF works on what OpenVINO runs, which is the CPU."""
    capability = torchao.CAPABILITIES.get(str(choice))
    return cannot(str(choice), setting) or (capability and setting.incapable(capability))


def cannot(kind: str, setting: Setting) -> str | None:
    """Return why this kind cannot be had for any component, None where it can."""
    if kind.startswith("nncf") and setting.device != "cpu":
        return "NNCF quantizes what OpenVINO runs, and here that is the CPU"
    return setting.lacks(*LIBRARY[kind])


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return what makes diffusers quantize while it loads, for the kinds that it knows on this device."""
    return loaded_in(str(choices["quantization"]), [bench.card.denoiser], bench)


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Quantize what diffusers could not while loading; NNCF's share is done where OpenVINO converts."""
    quantize(pipe, str(choices["quantization"]), [bench.card.denoiser], bench)


def loaded_in(kind: str, components: list[Component], bench: Bench) -> dict[str, Any]:
    """Return how these components are quantized while they load, empty where they are afterwards or not at all."""
    if kind in torchao.CONFIGS:
        return {"quant_mapping": {each.name: torchao.config(kind, each.library) for each in components}}
    if kind.startswith("bnb") and bench.device != "cpu":
        return {"quant_mapping": {each.name: bitsandbytes.config(kind, each.library) for each in components}}
    return {}


def quantize(pipe: Any, kind: str, components: list[Component], bench: Bench) -> None:
    """Quantize these components in place, where they were not while they loaded."""
    for module in (getattr(pipe, component.name) for component in components):
        if kind.startswith("bnb") and bench.device == "cpu":
            bitsandbytes.apply(module, kind)
        elif kind == "fp8_storage":
            _store_in_fp8(module)


def _store_in_fp8(module: Any) -> None:
    """Keep weights in fp8 and cast each layer's while it runs: half the memory of bf16, and no faster.

    Source: https://huggingface.co/docs/diffusers/optimization/memory (layerwise casting)
    """
    import torch
    from diffusers.hooks import apply_layerwise_casting

    if hasattr(module, "enable_layerwise_casting"):  # it knows which of its layers must stay as they are
        module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=module.dtype)
    else:
        apply_layerwise_casting(module, torch.float8_e4m3fn, module.dtype, skip_modules_pattern=("embed", "norm"))


QUANTIZATION = Knob(
    name="quantization",
    says="the denoiser's weights (dynamic kinds and NNCF: activations too) in fewer bits",
    choices=("none", *LIBRARY),
    default="none",
    lossy=frozenset(LIBRARY),
    source="https://huggingface.co/docs/diffusers/quantization/overview",
    refuses=refuses,
    loads=loads,
    apply=apply,
)
