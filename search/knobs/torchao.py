"""torchao: weights in int8, int4 or fp8, with activations in the pipeline's precision or quantized on the fly.

What 0.18 has beyond these kinds, and why it is not here. `IntxWeightOnlyConfig` keeps int4 in bytes, one a weight: the
memory of int8 with the error of int4 (6.7 % against 0.4 % on one layer). `Int8DynamicActivationIntxWeightConfig` and
its twin for the CPU need kernels that the wheels for x86 do not bring. `Int8StaticActivationInt8WeightConfig` wants a
scale for each layer, from calibration. Block-sparse and 2:4 weights are another model.

The kinds for CUDA were written after torchao's source and have not been run.
Source: torchao 0.18, `quantization/quant_api.py`, `prototype/quantization/int4/inference_workflow.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..random_weights import tensors_in

if TYPE_CHECKING:
    from ...probes.model import Component, Tensor
    from .knob import Bench, Setting

GROUP_SIZE = 32  # divides the 320 channels of an SD UNet, as torchao's 128 does not
FP8_GROUP_SIZE = 128  # the only one that the kernel of fp8 with int4 knows


def _wide(tensor: Tensor) -> bool:
    """Whether quantizing a layer's inputs at each call costs less than it gains: diffusion-fast's choice for SDXL.

    Source: https://github.com/huggingface/diffusion-fast, `utils/pipeline_utils.py`, `dynamic_quant_filter_fn`.
    """
    outputs, inputs = tensor.shape[:2]
    return inputs > 16 and (inputs, outputs) not in NARROW


NARROW = frozenset(
    (
        *((1280, 640), (1920, 1280), (1920, 640), (2048, 1280), (2048, 2560), (2560, 1280), (2816, 1280)),
        *((256, 128), (320, 640), (512, 1536), (512, 256), (512, 512), (960, 320), (960, 640)),
        *((640, 1280), (640, 1920), (640, 320), (640, 5120), (640, 640)),
    )
)
"""Inputs and outputs of the layers that diffusion-fast found to be slower when they are quantized dynamically."""


def _grouped(tensor: Tensor) -> bool:
    """Whether groups of int4 fill a layer's inputs, and tiles of 16 its outputs (torch, `_weight_int4pack_mm`)."""
    outputs, inputs = tensor.shape[:2]
    return inputs % GROUP_SIZE == 0 and outputs % 16 == 0


def _grouped_for_fp8(tensor: Tensor) -> bool:
    return tensor.shape[1] % FP8_GROUP_SIZE == 0


def _in_blocks(tensor: Tensor) -> bool:
    """Whether blocks of 32, which share a scale on Blackwell, fill both sides of a layer."""
    return not any(side % 32 for side in tensor.shape[:2])


def _any(tensor: Tensor) -> bool:
    del tensor
    return True


def _int4() -> Any:
    """Return int4 in groups, packed for the tensor cores by torch's own kernel; the default needs the package mslk."""
    from torchao import quantization
    from torchao.quantization.quantize_.workflows import Int4PackingFormat

    return quantization.Int4WeightOnlyConfig(
        group_size=GROUP_SIZE, int4_packing_format=Int4PackingFormat.TILE_PACKED_TO_4D
    )


def _fp8_per_row() -> Any:
    from torchao import quantization

    return quantization.Float8DynamicActivationFloat8WeightConfig(granularity=quantization.PerRow())


def _config(name: str, module: str = "torchao.quantization", **options: Any) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module(module), name)(**options)


@dataclass(frozen=True)
class Kind:
    """A kind of quantization: its configuration, and which layers take it.

    capability: from which compute capability on it has kernels, None where other devices have them too; on_cpu: whether
    only a CPU has; needs: a package beside torchao; takes: whether it quantizes a layer with such a weight; takes_1x1:
    whether it makes linear layers of 1x1 convolutions.
    """

    config: Callable[[], Any]
    capability: tuple[int, int] | None = None
    on_cpu: bool = False
    needs: str = ""
    takes: Callable[[Tensor], bool] = _any
    takes_1x1: bool = False


AMPERE, ADA, HOPPER, BLACKWELL = (8, 0), (8, 9), (9, 0), (10, 0)
PROTOTYPE_INT4 = "torchao.prototype.quantization.int4.inference_workflow"
MX_FORMATS = "torchao.prototype.mx_formats"
KINDS = {
    "torchao_int8_weight_only": Kind(_config("Int8WeightOnlyConfig")),
    "torchao_int8_dynamic": Kind(_config("Int8DynamicActivationInt8WeightConfig")),
    "torchao_int8_dynamic_wide": Kind(_config("Int8DynamicActivationInt8WeightConfig"), takes=_wide, takes_1x1=True),
    "torchao_int4_weight_only": Kind(_int4, AMPERE, takes=_grouped),
    "torchao_int4_cpu": Kind(
        _config("PrototypeInt4WeightOnlyConfig", PROTOTYPE_INT4, group_size=GROUP_SIZE), on_cpu=True, takes=_grouped
    ),
    "torchao_fp8_weight_only": Kind(_config("Float8WeightOnlyConfig")),
    "torchao_fp8_dynamic": Kind(_config("Float8DynamicActivationFloat8WeightConfig"), ADA),
    "torchao_fp8_dynamic_row": Kind(_fp8_per_row, ADA),
    "torchao_fp8_dynamic_int4": Kind(
        _config("Float8DynamicActivationInt4WeightConfig"), HOPPER, needs="mslk", takes=_grouped_for_fp8
    ),
    "torchao_mxfp8_dynamic": Kind(
        _config("MXDynamicActivationMXWeightConfig", MX_FORMATS), BLACKWELL, takes=_in_blocks
    ),
    "torchao_nvfp4_dynamic": Kind(
        _config("NVFP4DynamicActivationNVFP4WeightConfig", MX_FORMATS, use_triton_kernel=False),
        BLACKWELL,
        takes=_in_blocks,
    ),
}
"""All are of version 2 where torchao has one: tensors of version 1 do not stream (diffusers#13281)."""


def cannot(kind: str, setting: Setting) -> str | None:
    """Return why this kind cannot be had on this machine, None where it can."""
    chosen = KINDS[kind]
    if chosen.capability and (incapable := setting.incapable(chosen.capability)):
        return incapable
    if chosen.on_cpu and setting.device != "cpu":
        return f"its weights are packed for a CPU's instructions, and this is {setting.device}"
    if chosen.needs and chosen.needs not in setting.machine.software.versions:
        return f"needs {chosen.needs}, which is not installed: pip install {chosen.needs}-cuda"
    return None


def could_be_linear(name: str, tensor: Tensor) -> bool:
    """Whether a tensor is the weight of a linear layer, or of an embedding, which no kind quantizes."""
    return name.endswith(".weight") and len(tensor.shape) == 2


def config(kind: str, component: Component, bench: Bench) -> Any:
    """Return the quantization of a component as it loads.

    diffusers and transformers have a class of the same name each, and each loads its own only. What the kind does not
    take is left out by name, which is known from the weights' shapes.
    Source: diffusers, `quantizers/pipe_quant_config.py`.
    """
    chosen = KINDS[kind]
    weights = tensors_in(bench.card, component)
    left = [
        name.removesuffix(".weight")
        for name, tensor in weights.items()
        if could_be_linear(name, tensor) and not chosen.takes(tensor)
    ]
    library = importlib.import_module(component.library)
    return library.TorchAoConfig(chosen.config(), modules_to_not_convert=left or None)


def apply(module: Any, kind: str) -> None:
    """Make linear layers of the 1x1 convolutions that the kind takes, and quantize those: loading leaves them alone.

    Source: torchao 0.18, `quantization/quant_api.py`, `swap_conv2d_1x1_to_linear`; diffusion-fast, as above.
    """
    chosen = KINDS[kind]
    if chosen.takes_1x1:
        quantize_1x1(module, chosen.config(), chosen.takes)


def quantize_1x1(module: Any, config: Any, takes: Callable[[Any], bool]) -> None:
    """Make linear layers of the 1x1 convolutions whose weights are taken, and quantize those."""
    import torch
    from torchao.quantization import quantize_, swap_conv2d_1x1_to_linear

    def taken(layer: Any, *_: Any) -> bool:
        pointwise = type(layer) is torch.nn.Conv2d and layer.kernel_size == (1, 1) and layer.groups == 1
        return pointwise and layer.stride == (1, 1) and layer.padding == (0, 0) and takes(layer.weight)

    swap_conv2d_1x1_to_linear(module, taken)
    for layer in module.modules():
        if type(layer).__name__ == "PermuteSandwich":
            quantize_(layer.mod, config, lambda *_: True)
