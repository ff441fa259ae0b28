"""torchao: weights in int8, int4 or fp8, with activations in the pipeline's precision or quantized on the fly."""

from __future__ import annotations

import importlib
from typing import Any

CONFIGS = {
    "torchao_int8_weight_only": "Int8WeightOnlyConfig",
    "torchao_int8_dynamic": "Int8DynamicActivationInt8WeightConfig",
    "torchao_int4_weight_only": "Int4WeightOnlyConfig",
    "torchao_fp8_weight_only": "Float8WeightOnlyConfig",
    "torchao_fp8_dynamic": "Float8DynamicActivationFloat8WeightConfig",
}
"""What torchao 0.18 calls each kind (`quantization/quant_api.py`)."""

CAPABILITIES = {"torchao_int4_weight_only": (8, 0), "torchao_fp8_dynamic": (8, 9)}
"""Kinds that have kernels on CUDA only, and from which compute capability on."""


def config(kind: str, library: str) -> Any:
    """Return the quantization of a component of that library, diffusers or transformers, as it loads.

    Both have a class of this name, and each loads its own only.
    Source: torchao 0.18, `quantization/quant_api.py`; diffusers, `quantizers/pipe_quant_config.py`.
    """
    from torchao import quantization

    weights = getattr(quantization, CONFIGS[kind])()
    return importlib.import_module(library).TorchAoConfig(weights)
