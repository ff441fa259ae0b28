"""bitsandbytes: linear layers with int8, nf4 or fp4 weights.

diffusers' own quantizer asks for a GPU when it loads; the layers themselves run on a CPU since 0.46, so
there they are put in place one by one.
Source: bitsandbytes 0.50, `nn/modules.py`; Dettmers et al. 2022 (arXiv:2208.07339), 2023 (arXiv:2305.14314).
"""

from __future__ import annotations

import importlib
from typing import Any

ADAPTERS = {"lora_A", "lora_B"}
"""What peft calls the two matrices of an adapter beside a layer: small, and exact on purpose."""


def config(kind: str, library: str) -> Any:
    """Return the quantization of a component of that library, diffusers or transformers, as it loads on an accelerator.

    Both have a class of this name, and each loads its own only.
    """
    import torch

    kinds = importlib.import_module(library)
    if kind == "bnb_int8":
        return kinds.BitsAndBytesConfig(load_in_8bit=True)
    return kinds.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind.removeprefix("bnb_"), bnb_4bit_compute_dtype=torch.bfloat16
    )


def apply(module: Any, kind: str) -> None:
    """Replace every linear layer below `module` by its quantized twin, on the CPU.

    What the class keeps in fp32 stays as it is: T5 casts what goes into `wo` to the format of its weights, which here
    is packed bytes. Adapters are left as they are.
    """
    replace_linear(module, kind, frozenset(module._keep_in_fp32_modules or ()))  # noqa: SLF001 - the libraries' own


def replace_linear(module: Any, kind: str, kept: frozenset[str]) -> None:
    """Replace linear layers by their quantized twins, but for those that are kept, and for adapters."""
    import torch

    for name, child in module.named_children():
        if name in kept or name in ADAPTERS:
            continue
        if type(child) is torch.nn.Linear:
            setattr(module, name, _int8(child) if kind == "bnb_int8" else _4bit(child, kind.removeprefix("bnb_")))
        else:
            replace_linear(child, kind, kept)


def _int8(layer: Any) -> Any:
    from bitsandbytes import nn

    twin = nn.Linear8bitLt(layer.in_features, layer.out_features, layer.bias is not None, has_fp16_weights=False)
    twin.weight = nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    twin.bias = layer.bias
    return twin.to("cpu")


def _4bit(layer: Any, kind: str) -> Any:
    from bitsandbytes import nn

    twin = nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        layer.bias is not None,
        compute_dtype=layer.weight.dtype,
        compress_statistics=False,  # as diffusers' configuration has it, on a GPU
        quant_type=kind,
    )
    twin.weight = nn.Params4bit(layer.weight.data, requires_grad=False, compress_statistics=False, quant_type=kind)
    twin.bias = layer.bias
    return twin.to("cpu")
