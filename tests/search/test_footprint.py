"""The bytes that a recipe's weights take, by arithmetic, are those of a pipeline that is really loaded."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest

from autotune.probes.layers import Layer, compositions_of
from autotune.probes.model import Component, ModelCard
from autotune.search.assemble import assemble, choices_of
from autotune.search.footprint import LAYOUTS, weights_of
from autotune.search.knobs import Setting
from autotune.search.knobs.quantization import LIBRARY
from autotune.search.recipe import Recipe
from autotune.search.space import recipe_of, space_for
from autotune.search.trial.weights import bytes_in
from autotune.tests.search.small import ARCHITECTURE_OF, bench_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from autotune.probes.machine import Machine
    from autotune.search.recipe import Choice
    from autotune.search.space import Space

QUANTIZED = ("quantization", "text_encoder_quantization", "vae_quantization")
CARD = ModelCard(
    name="made-up",
    folder="",
    revision="0",
    pipeline_class="FluxPipeline",
    components=(
        Component(name="text_encoder", library="transformers", class_name="T5EncoderModel", parameters=0, bytes=0),
        Component(name="transformer", library="diffusers", class_name="FluxTransformer2DModel", parameters=0, bytes=0),
        Component(name="vae", library="diffusers", class_name="AutoencoderKL", parameters=0, bytes=0),
    ),
    native_pixels=None,
)


def layer(name: str, kind: str, *shape: int, count: int = 1, bias: int = 0) -> Layer:
    return Layer(name=name, kind=kind, shape=shape, count=count, parameters=math.prod(shape) + bias)


LAYERS = {
    "text_encoder": (layer("encoder.block.*.layer.*.DenseReluDense.wo", "Linear", 64, 128, count=2),),
    "transformer": (
        layer("x_embedder", "Linear", 64, 16, bias=64),
        layer("transformer_blocks.*.attn.to_q", "Linear", 64, 64, count=3, bias=64),
        layer("norm_out.norm", "LayerNorm", 64),
    ),
    "vae": (layer("decoder.conv_in", "Conv2d", 8, 4, 3, 3, bias=8),),
}


def size(component: str, **turned: Choice) -> int:
    return weights_of(LAYERS, CARD, choices_of(Recipe(turned=turned)))[component]


def test_without_quantization_the_precision_says_it() -> None:
    numbers = 64 * 16 + 64 + 3 * (64 * 64 + 64) + 64
    assert size("transformer") == 4 * numbers
    assert size("transformer", precision="bf16") == 2 * numbers
    assert size("vae", precision="bf16") == size("vae") / 2
    assert size("vae", precision="bf16", vae_precision="fp32") == size("vae")


def test_a_quantized_weight_has_its_scales_beside_it_and_a_bias_in_full() -> None:
    in_bf16 = 2 * (64 + 3 * 64 + 64)  # the biases, and the norm
    weights = 64 * 16 + 3 * 64 * 64
    assert size("transformer", precision="bf16", quantization="gguf_q8_0") == (
        in_bf16 + 2 * 64 * 16 + 3 * 64 * 64 * 34 / 32  # 16 inputs do not fill a block of 32
    )
    assert size("transformer", precision="bf16", quantization="bnb_nf4") == in_bf16 + weights * (0.5 + 4 / 64)


def test_what_its_class_keeps_in_fp32_is_not_quantized() -> None:
    whole = 2 * 64 * 128
    assert size("text_encoder", precision="bf16", text_encoder_quantization="bnb_nf4") == 2 * whole
    assert size("text_encoder", precision="fp16") == 4 * whole
    assert size("text_encoder", precision="bf16") == 2 * whole


def test_every_kind_of_quantization_has_a_layout() -> None:
    assert set(LIBRARY) == {*LAYOUTS, "fp8_storage"}


def recipes(space: Space) -> Iterator[Recipe]:
    """Yield recipes with one quantization each, in fp32 and in bf16, and those without."""
    for precision in ("fp32", "bf16"):
        yield recipe_of({"precision": precision})
        yield recipe_of({"precision": precision, "vae_precision": "fp32"})
        for knob in QUANTIZED:
            yield from (recipe_of({"precision": precision, knob: choice}) for choice in space.choices[knob])


MOST = 16
"""So many recipes of each kind: forty take a minute and a half."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torchao and quanto warn of what they will drop
@pytest.mark.parametrize("name", ["flux", "wan"])
def test_arithmetic_agrees_with_what_is_loaded(name: str, tmp_path: Path, machine: Machine) -> None:
    bench = bench_of(ARCHITECTURE_OF[name], tmp_path)
    layers = {part: found.layers for part, found in compositions_of(bench.card, tmp_path / "cache").items()}
    space = space_for(Setting(machine, bench.card, bench.workload, "cpu"))
    allowed = [recipe for recipe in dict.fromkeys(recipes(space)) if recipe in space]

    assert len(allowed) > 20
    for recipe in random.Random(name).sample(allowed, min(len(allowed), MOST)):
        pipe = assemble(recipe, bench)
        for part, said in weights_of(layers, bench.card, choices_of(recipe)).items():
            assert said == pytest.approx(bytes_in([getattr(pipe, part)]), rel=0.003), (part, recipe)
