"""GGUF files made from a model on the spot: of every architecture, smaller, and the same model but for rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from autotune.search.assemble import assemble, build
from autotune.search.knobs import Bench, gguf
from autotune.search.pipeline import call_pipeline
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.verify.architectures import ARCHITECTURES, Architecture
from autotune.tests.search.small import bench_of

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("gguf", reason="needs the extra gguf")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # torch and torchao warn of each other


def image(bench: Bench, recipe: Recipe) -> np.ndarray:
    found = call_pipeline(assemble(recipe, bench), bench.workload, "a red circle", 3, output_type="np")[0]
    return np.asarray(found, dtype=np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
def test_denoiser_and_text_encoders_of_every_architecture(architecture: Architecture, tmp_path: Path) -> None:
    bench = bench_of(architecture, tmp_path)
    plain = image(bench, UNMODIFIED)
    for knob in ("quantization", "text_encoder_quantization"):
        apart = np.abs(image(bench, Recipe(turned={knob: "gguf_q8_0"})) - plain).mean()
        assert 0 < apart < 0.01


def test_a_file_is_made_once_smaller_and_found_again(tmp_path: Path) -> None:
    bench = bench_of(ARCHITECTURES[2], tmp_path)
    denoiser = bench.card.denoiser
    build(Recipe(turned={"quantization": "gguf_q4_0"}), bench)
    file = gguf.file_of("gguf_q4_0", denoiser, bench)
    made = file.stat()
    assert made.st_size < denoiser.bytes / 4
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    pipe = assemble(Recipe(turned={"quantization": "gguf_q4_0", "precision": "bf16"}), bench)
    assert file.stat().st_mtime_ns == made.st_mtime_ns
    layers = {type(module).__name__ for module in pipe.transformer.transformer_blocks.modules()}
    assert "GGUFLinear" in layers
    assert "Linear" not in layers


def test_fewer_bits_are_further_away(tmp_path: Path) -> None:
    import torch

    bench = bench_of(ARCHITECTURES[0], tmp_path)
    layer = "mid_block.attentions.0.transformer_blocks.0.ff.net.2"
    weight = assemble(UNMODIFIED, bench).unet.get_submodule(layer).weight
    errors = []
    for kind in ("gguf_q8_0", "gguf_q5_0", "gguf_q4_0"):
        module = gguf.load(kind, bench.card.denoiser, bench, torch.float32).get_submodule(layer)
        errors.append(float((module(torch.eye(weight.shape[1])).T - module.bias[:, None] - weight).detach().norm()))
    assert 0 < errors[0] < errors[1] < errors[2] < 0.2 * float(weight.norm())


def test_sequential_offload_still_breaks_it() -> None:
    """The reason of the rule `gguf_or_sequential_offload`: where this no longer raises, the rule can go."""
    import torch
    from diffusers.quantizers.gguf.utils import GGUFParameter

    with pytest.raises(KeyError):
        GGUFParameter(torch.zeros(1, 34, dtype=torch.uint8), requires_grad=False)  # as accelerate makes one
