"""Loading: where the weights come to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest

from autotune.probes.model import read_model
from autotune.search import assemble as assembling
from autotune.search.assemble import assemble
from autotune.search.pipeline import call_pipeline, load_pipeline
from autotune.search.recipe import Recipe
from autotune.search.verify.architectures import ARCHITECTURES

from .small import bench_of

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {each.name: each for each in ARCHITECTURES}


class AskedError(Exception):
    """Instead of a pipeline."""


@pytest.mark.parametrize(
    ("device", "connected", "placed"),
    [("cuda", False, "cuda"), ("xpu", False, "xpu"), ("cuda", True, None), ("cpu", False, None), ("mps", False, None)],
)
def test_files_are_loaded_to_where_they_compute(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, device: str, placed: str | None, *, connected: bool
) -> None:
    asked: dict[str, Any] = {}

    def remember(_: Any, **arguments: Any) -> Any:
        asked.update(arguments)
        raise AskedError

    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "from_pretrained", remember)
    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "_load_connected_pipes", connected)
    with pytest.raises(AskedError):
        load_pipeline(read_model(tiny), device)
    assert asked.get("device_map") == placed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # libraries warn of what small models lack
@pytest.mark.parametrize("name", ["sd", "flux"])
def test_what_is_quantized_while_it_is_placed_is_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU stands in for the accelerator, by the same argument."""
    pytest.importorskip("torchao")
    kind = "torchao_int8_weight_only"
    bench, recipe = (
        bench_of(KINDS[name], tmp_path),
        Recipe(turned={"quantization": kind, "text_encoder_quantization": kind}),
    )
    pipes = [assemble(recipe, bench)]
    monkeypatch.setattr(assembling, "load_pipeline", partial(load_pipeline, device_map="cpu"))
    pipes.append(assemble(recipe, bench))
    one, other = (
        np.asarray(call_pipeline(pipe, bench.workload, "a red circle", 3, output_type="np")) for pipe in pipes
    )
    assert np.array_equal(one, other)
