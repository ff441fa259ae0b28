"""A large UNet under OpenVINO is one graph of one row, whatever the batch; and how many bytes of weights that saves."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autotune.search.assemble import assemble, calls, choices_of
from autotune.search.knobs.openvino import convert, parts
from autotune.search.knobs.openvino.parts import Part, parts_of
from autotune.search.knobs.openvino.run import ByRow, rows_of, tensors_in
from autotune.search.pipeline import call_pipeline, load_pipeline
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.trial.weights import weights_bytes

if TYPE_CHECKING:
    from autotune.search.knobs import Bench

# torch and OpenVINO warn of each other's ways, which the processes of trials do not turn into errors
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

GRAPHS: dict[str, Choice] = {"compile": "openvino"}


@pytest.fixture
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the tiny UNet for a large one."""
    monkeypatch.setattr(parts, "LARGE_PARAMETERS", 1)


def image(bench: Bench, recipe: Recipe) -> np.ndarray:
    pipe = assemble(recipe, bench)
    images = call_pipeline(pipe, bench.workload, "a red circle", 3, output_type="np", **calls(recipe, bench))
    return np.asarray(images[0], dtype=np.float32)


def test_what_all_rows_share_is_not_split() -> None:
    import torch

    latents, timestep, states, sizes = torch.arange(8.0).reshape(2, 4), torch.tensor(5), torch.ones(2, 3), torch.ones(6)
    first, second = rows_of([latents, timestep, states, sizes])
    assert [tuple(tensor.shape) for tensor in first] == [(1, 4), (), (1, 3), (6,)]
    assert torch.equal(torch.cat([first[0], second[0]]), latents)


@pytest.mark.usefixtures("_large")
@pytest.mark.parametrize("more", [{}, {"guidance_cutoff": 0.5}], ids=["guided", "guided at first"])
def test_one_graph_serves_every_batch(bench: Bench, more: dict[str, Choice], caplog: pytest.LogCaptureFixture) -> None:
    recipe = Recipe(turned={**GRAPHS, **more})
    graphs = [each for each in parts_of(choices_of(recipe), bench) if each.part == Part("unet")]
    assert len(graphs) == 1
    with caplog.at_level(logging.WARNING):
        apart = np.abs(image(bench, recipe) - image(bench, Recipe(turned=more))).max()
    assert apart < 1e-3
    assert "another shape" not in caplog.text
    [graph] = assemble(recipe, bench).unet._about["graphs"]
    assert isinstance(graph, ByRow)


@pytest.mark.usefixtures("_large")
def test_the_graph_of_one_row_is_the_same_for_other_batches(bench: Bench) -> None:
    several = replace(bench, workload=bench.workload.model_copy(update={"batch": 3}))
    places = {each.folder(where) for where in (bench, several) for each in parts_of(choices_of(UNMODIFIED), where)}
    assert len([place for place in places if place.name.startswith("unet")]) == 1


@pytest.mark.usefixtures("_large")
def test_it_is_calibrated_with_both_halves_of_the_guidance(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(turned={**GRAPHS, "quantization": "nncf_int8"})
    [made] = [each for each in parts_of(choices_of(recipe), bench) if each.part == Part("unet")]
    pipe = load_pipeline(bench.card)
    noted = convert.recorded(pipe, [made.part], bench.workload, bench, thorough=True)[made.part]
    given: list[Any] = []

    def noting(graph: Any, samples: list[Any], **_: Any) -> Any:
        given.extend(samples)
        return graph

    monkeypatch.setattr(convert, "_quantized", noting)
    convert.converted(made, pipe, noted)
    latents = [tensors_in(call.arguments)[0] for call in given]
    states = [tensors_in(call.arguments)[-1] for call in given]
    assert {len(each) for each in latents} == {1}
    assert len(given) == 2 * len(noted)
    assert (states[0] != states[1]).any(), "the unconditional half, and the other"


def test_a_small_unet_keeps_a_graph_for_each_batch(bench: Bench) -> None:
    choices = choices_of(Recipe(turned={**GRAPHS, "guidance_cutoff": 0.5}))
    assert [each.by_row for each in parts_of(choices, bench) if each.part == Part("unet")] == [False, False]


def test_the_weights_of_torch_are_those_of_the_files(bench: Bench) -> None:
    in_files = sum(component.bytes for component in bench.card.components)
    full = weights_bytes(assemble(UNMODIFIED, bench))
    assert in_files <= full < 1.05 * in_files  # buffers are not in files
    cached = Recipe(turned={"feature_cache": "deepcache_2"})
    assert weights_bytes(assemble(cached, bench)) == full, "the halves share their layers"
    assert weights_bytes(assemble(Recipe(turned={"precision": "bf16"}), bench)) == pytest.approx(full / 2, rel=0.05)


def test_the_weights_of_graphs_are_their_files(bench: Bench) -> None:
    recipe = Recipe(turned={**GRAPHS, "guidance_cutoff": 0.5})
    pipe = assemble(recipe, bench)
    files = [each.folder(bench) / "graph.bin" for each in parts_of(choices_of(recipe), bench)]
    assert len(files) == 4
    assert weights_bytes(pipe) == sum(file.stat().st_size for file in files)
