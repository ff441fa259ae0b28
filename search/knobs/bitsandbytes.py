"""bitsandbytes: linear layers with int8, nf4 or fp4 weights.

diffusers' own quantizer asks for a GPU when it loads; the layers themselves run on a CPU since 0.46, so
there they are put in place one by one.
Source: bitsandbytes 0.50, `nn/modules.py`; Dettmers et al. 2022 (arXiv:2208.07339), 2023 (arXiv:2305.14314).
"""

from __future__ import annotations

from typing import Any


def loads(kind: str, denoiser: str) -> dict[str, Any]:
    """Return the quantization of the denoiser as `from_pretrained` takes it, for accelerators."""
    import torch
    from diffusers import BitsAndBytesConfig, PipelineQuantizationConfig

    if kind == "bnb_int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=kind.removeprefix("bnb_"), bnb_4bit_compute_dtype=torch.bfloat16
        )
    return {"quantization_config": PipelineQuantizationConfig(quant_mapping={denoiser: config})}


def apply(module: Any, kind: str) -> None:
    """Replace every linear layer below `module` by its quantized twin, on the CPU."""
    import torch

    for name, child in module.named_children():
        if type(child) is torch.nn.Linear:
            setattr(module, name, _int8(child) if kind == "bnb_int8" else _4bit(child, kind.removeprefix("bnb_")))
        else:
            apply(child, kind)


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
        quant_type=kind,
    )
    twin.weight = nn.Params4bit(layer.weight.data, requires_grad=False, quant_type=kind)
    twin.bias = layer.bias
    return twin.to("cpu")
