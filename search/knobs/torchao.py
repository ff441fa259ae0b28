"""torchao: int8 weights, with activations in the pipeline's precision or quantized on the fly."""

from __future__ import annotations

from typing import Any


def loads(kind: str, denoiser: str) -> dict[str, Any]:
    """Return the quantization of the denoiser as `from_pretrained` takes it.

    `quant_mapping` and not `quant_backend`: with transformers 5 the latter is refused for torchao, because
    the two libraries' configuration classes have different signatures.
    Source: torchao 0.18, `quantization/quant_api.py`; diffusers, `quantizers/pipe_quant_config.py`.
    """
    from diffusers import PipelineQuantizationConfig, TorchAoConfig
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig

    weights = Int8WeightOnlyConfig() if kind == "torchao_int8_weight_only" else Int8DynamicActivationInt8WeightConfig()
    return {"quantization_config": PipelineQuantizationConfig(quant_mapping={denoiser: TorchAoConfig(weights)})}
