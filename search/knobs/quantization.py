"""Quantization: the denoiser's weights, and perhaps its activations, in fewer bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...probes.model import tensors_of
from . import bitsandbytes, gguf, quanto, torchao
from .knob import Bench, Choices, Knob, Setting
from .precision import dtype_of

if TYPE_CHECKING:
    from ...probes.model import Component
    from ..recipe import Choice

LIBRARY = {
    **dict.fromkeys(torchao.KINDS, ("torchao", "quant")),
    **dict.fromkeys(("bnb_int8", "bnb_nf4", "bnb_fp4"), ("bitsandbytes", "quant")),
    **dict.fromkeys(gguf.KINDS, ("gguf", "gguf")),
    **dict.fromkeys(quanto.KINDS, ("optimum_quanto", "quanto")),
    "fp8_storage": ("diffusers", "cpu"),
    **dict.fromkeys(("nncf_int8", "nncf_int8_weights", "nncf_int4_weights"), ("nncf", "cpu")),
}


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Each kind needs its library, some a GPU's kernels, and some layers that they can quantize."""
    return cannot(str(choice), [setting.card.denoiser], setting)


def cannot(kind: str, components: list[Component], setting: Setting) -> str | None:
    """Return why this kind cannot be had for these components, None where it can."""
    if kind.startswith("nncf") and setting.device != "cpu":
        return "NNCF quantizes what OpenVINO runs, and here that is the CPU"
    lacking = setting.lacks(*LIBRARY[kind])
    if lacking:
        return lacking
    if kind in torchao.KINDS and (incapable := torchao.cannot(kind, setting)):
        return incapable
    return _finds_nothing(kind, components, setting)


def _finds_nothing(kind: str, components: list[Component], setting: Setting) -> str | None:
    """Return that no layer has a shape that this kind takes, None where one has, or where shapes are not known."""
    takes = torchao.KINDS[kind].takes if kind in torchao.KINDS else gguf.takes if kind in gguf.KINDS else None
    if takes is None:
        return None
    tensors = [item for each in components for item in tensors_of(setting.card, each.name).items()]
    linear = [tensor for name, tensor in tensors if torchao.could_be_linear(name, tensor)]
    if linear and not any(map(takes, linear)):
        return f"no linear layer of the {components[0].name} has a shape that {kind} takes"
    return None


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return what makes diffusers quantize while it loads, for the kinds that it knows on this device."""
    return loaded_in(str(choices["quantization"]), [bench.card.denoiser], choices, bench)


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Quantize what diffusers could not while loading; NNCF's share is done where OpenVINO converts."""
    quantize(pipe, str(choices["quantization"]), [bench.card.denoiser], bench)


def builds(choices: Choices, bench: Bench) -> None:
    """Write GGUF files ahead of the trial."""
    built(str(choices["quantization"]), [bench.card.denoiser], bench)


def loaded_in(kind: str, components: list[Component], choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return how these components are quantized while they load, empty where they are afterwards or not at all."""
    if kind in gguf.KINDS:
        return {each.name: gguf.load(kind, each, bench, dtype_of(choices)) for each in components}
    if kind in torchao.KINDS:
        return {"quant_mapping": {each.name: torchao.config(kind, each, bench) for each in components}}
    if kind in quanto.KINDS:
        return {"quant_mapping": {each.name: quanto.config(kind) for each in components}}
    if kind.startswith("bnb") and bench.device != "cpu":
        return {"quant_mapping": {each.name: bitsandbytes.config(kind, each.library) for each in components}}
    return {}


def quantize(pipe: Any, kind: str, components: list[Component], bench: Bench) -> None:
    """Quantize these components in place, as far as they were not while they loaded."""
    for module in (getattr(pipe, component.name) for component in components):
        if kind.startswith("bnb") and bench.device == "cpu":
            bitsandbytes.apply(module, kind)
        elif kind in torchao.KINDS:
            torchao.apply(module, kind)
        elif kind == "fp8_storage":
            store_in_fp8(module)


def built(kind: str, components: list[Component], bench: Bench) -> None:
    """Make the artifacts that this kind needs for these components."""
    if kind in gguf.KINDS:
        for component in components:
            gguf.build(kind, component, bench)


def store_in_fp8(module: Any) -> None:
    """Keep weights in fp8 and cast each layer's while it runs: half the memory of bf16, and no faster.

    Source: https://huggingface.co/docs/diffusers/optimization/memory (layerwise casting)
    """
    import torch
    from diffusers.hooks import apply_layerwise_casting

    if hasattr(module, "enable_layerwise_casting"):  # it knows which of its layers must stay as they are
        module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=module.dtype)
    else:
        kept = ("embed", "norm", "shared", *(module._keep_in_fp32_modules or ()))  # noqa: SLF001 - transformers' own
        apply_layerwise_casting(module, torch.float8_e4m3fn, module.dtype, skip_modules_pattern=kept)


QUANTIZATION = Knob(
    name="quantization",
    says="the denoiser's weights (dynamic kinds and nncf_int8: activations too) in fewer bits",
    choices=("none", *LIBRARY),
    default="none",
    lossy=frozenset(LIBRARY),
    source="https://huggingface.co/docs/diffusers/quantization/overview",
    refuses=refuses,
    loads=loads,
    apply=apply,
    builds=builds,
)
