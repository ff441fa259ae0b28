"""How many bytes a model's weights take under a recipe: arithmetic on the shapes of its layers, without torch.

A quantized layer's weight is its numbers in fewer bits and what is kept beside them, such as a scale for each row or
block; its bias, and every layer that the kind leaves alone, stay in the precision of the pipeline. What takes which
layers was read from the libraries and is held against pipelines that are really loaded by a test.

Source: torchao 0.18, bitsandbytes 0.50, optimum-quanto 0.2.7, gguf 0.19 (`constants.GGML_QUANT_SIZES`), diffusers 0.42
(`hooks/layerwise_casting.py`).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from ..probes.classes import abilities
from ..probes.model import Tensor
from .knobs.gguf import takes as fills_blocks
from .knobs.text_encoder_quantization import encoders
from .knobs.torchao import GROUP_SIZE
from .knobs.torchao import KINDS as TORCHAO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..probes.layers import Layer
    from ..probes.model import Component, ModelCard
    from .knobs import Choices

ITEM_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}
KEPT_IN_FP32 = {"T5EncoderModel": ("wo",), "UMT5EncoderModel": ("wo",)}
"""Modules of transformers' classes that no quantizer touches, and that stay in fp32 beside fp16."""


class Layout(NamedTuple):
    """What a quantized weight takes: bytes for each number, and beside them for each row and each whole weight.

    items: the same in numbers of the pipeline's precision, for scales that are kept in it.
    """

    number: float
    row: float = 0
    whole: float = 0
    row_items: float = 0
    number_items: float = 0


LAYOUTS = {
    "torchao_int8_weight_only": Layout(1, row=5),
    "torchao_int8_dynamic": Layout(1, row=5),
    "torchao_int8_dynamic_wide": Layout(1, row=5),
    "torchao_int4_weight_only": Layout(0.5, number_items=2 / GROUP_SIZE),
    "torchao_int4_cpu": Layout(0.5, number_items=2 / GROUP_SIZE),
    "torchao_fp8_weight_only": Layout(1, row=4),
    "torchao_fp8_dynamic": Layout(1, whole=4),
    "torchao_fp8_dynamic_row": Layout(1, row=4),
    "torchao_fp8_dynamic_int4": Layout(0.5, row=4, number_items=2 / 128),
    "torchao_mxfp8_dynamic": Layout(1 + 1 / 32),
    "torchao_nvfp4_dynamic": Layout(0.5 + 1 / 16, whole=4),
    "bnb_int8": Layout(1, row=4),
    "bnb_nf4": Layout(0.5 + 4 / 64),
    "bnb_fp4": Layout(0.5 + 4 / 64),
    "gguf_q8_0": Layout(34 / 32),
    "gguf_q5_1": Layout(24 / 32),
    "gguf_q5_0": Layout(22 / 32),
    "gguf_q4_1": Layout(20 / 32),
    "gguf_q4_0": Layout(18 / 32),
    "quanto_int8": Layout(1, row_items=1),
    "quanto_fp8": Layout(1, row_items=1),
    "nncf_int8": Layout(1, row=4),
    "nncf_int8_weights": Layout(1, row=4),
    "nncf_int4_weights": Layout(0.5 + 2 / 128),
}
CAST = ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
UNCAST = ("pos_embed", "patch_embed", "norm", "^proj_in$", "^proj_out$")
UNCAST_ENCODER = ("embed", "norm", "shared")


def weights_of(layers: Mapping[str, Sequence[Layer]], card: ModelCard, choices: Choices) -> dict[str, int]:
    """Return the bytes of each component's weights under these choices.

    layers: of each component by name, as `probes.layers` finds them; what is not in it has no weights.
    """
    named = {component.name: component for component in card.components}
    return {
        name: sum(layer.count * round(_bytes(layer, named[name], card, choices)) for layer in found)
        for name, found in layers.items()
        if found
    }


class Quantized(NamedTuple):
    """What of a component is quantized: how many numbers, and the bytes that they take then."""

    numbers: int
    bytes: int


def quantized_of(layers: Sequence[Layer], component: Component, card: ModelCard, choices: Choices) -> Quantized:
    """Return what of a component's layers these choices quantize."""
    kind = kind_of(component, card, choices)
    taken = [layer for layer in layers if kind != "none" and _is_taken(kind, layer, component)]
    return Quantized(
        sum(layer.count * math.prod(layer.shape) for layer in taken),
        sum(layer.count * round(_bytes(layer, component, card, choices)) for layer in taken),
    )


def kind_of(component: Component, card: ModelCard, choices: Choices) -> str:
    """Return how a component's weights are quantized."""
    if component.name == card.denoiser.name:
        return str(choices["quantization"])
    if component.name == "vae":
        return str(choices["vae_quantization"])
    is_encoder = any(component.name == each.name for each in encoders(card))
    return str(choices["text_encoder_quantization"]) if is_encoder else "none"


def precision_of(component: Component, choices: Choices) -> str:
    """Return the precision that a component's weights are loaded in: graphs of OpenVINO are made of fp32."""
    if choices["compile"] == "openvino" or (component.name == "vae" and choices["vae_precision"] == "fp32"):
        return "fp32"
    return str(choices["precision"])


def _bytes(layer: Layer, component: Component, card: ModelCard, choices: Choices) -> float:
    """Return the bytes of one such module."""
    kind, precision = kind_of(component, card, choices), precision_of(component, choices)
    item = _item_bytes(layer, component, precision, quantized=kind not in {"none", "fp8_storage"})
    weight, rest = math.prod(layer.shape), layer.parameters - math.prod(layer.shape)
    if kind == "none" or not _is_taken(kind, layer, component):
        return layer.parameters * item
    if kind == "fp8_storage":  # with the bias
        return layer.parameters
    layout, rows = LAYOUTS[kind], layer.shape[0]
    beside = layout.row * rows + layout.whole + item * (layout.row_items * rows + layout.number_items * weight)
    return layout.number * weight + beside + rest * item


def kept_bytes(layers: Sequence[Layer], component: Component, card: ModelCard, choices: Choices) -> int:
    """Return the bytes of what diffusers leaves in fp32 in a part that it loads in less, as the part's class asks."""
    kind = kind_of(component, card, choices)
    if component.library != "diffusers" or ITEM_BYTES[precision_of(component, choices)] == 4:
        return 0
    kept = (each for each in layers if _is_kept(each, component))
    plain = (each for each in kept if kind == "none" or not _is_taken(kind, each, component))
    return sum(4 * each.count * each.parameters for each in plain)


def _item_bytes(layer: Layer, component: Component, precision: str, *, quantized: bool) -> int:
    """Return the bytes of a number that is not quantized: some modules stay in fp32, whatever the precision."""
    kept = _is_kept(layer, component)
    if component.library == "transformers":
        kept = kept and precision == "fp16" and not quantized
    return 4 if kept else ITEM_BYTES[precision]


def _is_kept(layer: Layer, component: Component) -> bool:
    """Return whether the module's class keeps it in fp32."""
    own = KEPT_IN_FP32.get(component.class_name) or abilities(component.class_name).kept_in_fp32
    return bool(set(own) & set(layer.name.split(".")))


def _is_taken(kind: str, layer: Layer, component: Component) -> bool:
    """Return whether a kind of quantization takes such a layer."""
    if kind.startswith("nncf"):
        return layer.kind.endswith((*CAST, "Embedding"))
    if kind == "fp8_storage":
        return layer.kind.endswith(CAST) and not _left_uncast(layer, component)
    takes_all = kind.startswith("quanto") or (kind in TORCHAO and component.library == "transformers")
    if _is_kept(layer, component) and not takes_all:
        return False
    weight = Tensor("", layer.shape)
    if kind in TORCHAO:
        pointwise = TORCHAO[kind].takes_1x1 and layer.kind == "Conv2d" and layer.shape[2:] == (1, 1)
        return (layer.kind == "Linear" or pointwise) and TORCHAO[kind].takes(weight)
    if kind.startswith("gguf"):
        return layer.kind == "Linear" and fills_blocks(weight)
    return layer.kind == "Linear"


def _left_uncast(layer: Layer, component: Component) -> bool:
    known = abilities(component.class_name)
    if component.library == "transformers":
        kept = (*UNCAST_ENCODER, *KEPT_IN_FP32.get(component.class_name, ()))
    else:
        kept = (*UNCAST, *known.uncast, *known.kept_in_fp32)
    return any(re.search(pattern, layer.name) for pattern in kept)
