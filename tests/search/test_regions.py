"""What inductor compiles: regions of every kind of denoiser, each class of block once, and the decoder by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autotune.errors import UnfitError
from autotune.probes.classes import _files, abilities
from autotune.search.assemble import assemble
from autotune.search.knobs import KNOBS, Bench, Setting
from autotune.search.knobs.inductor import compile_regions, compile_whole, regions_of
from autotune.search.pipeline import call_pipeline
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.verify.architectures import ARCHITECTURES, Architecture
from autotune.tests.search.small import bench_of

if TYPE_CHECKING:
    from autotune.probes.machine import Machine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]  # torch and transformers warn of each other's ways

KNOB_OF = {knob.name: knob for knob in KNOBS}
BLOCKS = {"sd": 4, "sdxl": 8, "flux": 4, "sd3": 3, "pixart": 3, "sana": 3, "wan": 3, "ltx": 3}
"""How many repeated blocks each small denoiser has: more than inductor may have to compile.

It compiles a kind again where its tensors are of another size (levels of a UNet) or layout (what enters the first
block is a view), or where it is made another way (the last block of sd3): never for each layer.
"""


@pytest.fixture(params=ARCHITECTURES, ids=lambda each: each.name)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    chosen: Architecture = request.param
    return chosen


@pytest.fixture
def small(architecture: Architecture, tmp_path: Path) -> Bench:
    return bench_of(architecture, tmp_path)


def test_every_block_is_compiled_and_each_kind_once(architecture: Architecture, small: Bench) -> None:
    """The graphs of all layers come from few compilations; `eager` takes no C++ compiler, and is counted the same."""
    import torch
    from torch._dynamo.utils import counters

    pipe = assemble(UNMODIFIED, small)
    plain = np.asarray(call_pipeline(pipe, small.workload, "a red circle", 3, output_type="np"))
    torch._dynamo.reset()
    counters.clear()
    ran: list[str] = []

    def compiled(self: torch.nn.Module, **how: object) -> None:
        ran.append(type(self).__name__)
        self._compiled_call_impl = torch.compile(self._call_impl, backend="eager", **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "compile", compiled)
        component = small.card.denoiser
        compile_regions(getattr(pipe, component.name), component.class_name, "static")
    found = np.asarray(call_pipeline(pipe, small.workload, "a red circle", 3, output_type="np"))
    assert set(ran) == set(regions_of(component.class_name))
    assert len(ran) == BLOCKS[architecture.name]
    assert 0 < counters["stats"]["unique_graphs"] < len(ran)
    assert not counters["graph_break"]
    assert np.abs(found - plain).max() < 1e-4


def test_every_transformer_of_diffusers_has_regions() -> None:
    """A new version brings new classes: those that name no blocks are to be looked at."""
    unknown = {
        name
        for name, file in _files().items()
        if file.parent.name == "transformers" and name.endswith("Model") and "ModelMixin" in abilities(name).bases
        if not regions_of(name)
    }
    assert unknown <= {"TransformerTemporalModel"}


def test_a_denoiser_without_blocks_is_unfit() -> None:
    import torch

    with pytest.raises(UnfitError, match="has no JointTransformerBlock"):
        compile_regions(torch.nn.Linear(1, 1), "SD3Transformer2DModel", "automatic")


@pytest.mark.parametrize(("shapes", "graphs"), [("automatic", 2), ("static", 3), ("dynamic", 1)])
def test_shapes_decide_how_often_is_compiled(shapes: str, graphs: int) -> None:
    import torch
    from torch._dynamo.utils import counters

    class Layer(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows.sin() + 1

    torch._dynamo.reset()
    counters.clear()
    layer = Layer()
    original = torch.nn.Module.compile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "compile", lambda self, **how: original(self, **how, backend="eager"))
        compile_whole(layer, None, shapes)
    for size in (3, 4, 5):
        layer(torch.zeros(size, 8))
    assert counters["stats"]["unique_graphs"] == graphs


COMPILED = {
    "compile=regional": {"flux", "wan"},
    "vae_compile=True": {"sd", "ltx"},
    "compile=full": {"sd"},
}
"""A UNet, transformers, VAEs of images and of videos: compiling takes minutes, and the others have the same layers.

The blocks of all are compiled above, as far as it takes no C++ compiler.
"""


@pytest.mark.slow
@pytest.mark.parametrize("turned", [{"compile": "regional"}, {"vae_compile": True}, {"compile": "full"}], ids=str)
def test_compiled_images_are_the_same(
    architecture: Architecture, small: Bench, machine: Machine, turned: dict[str, str | bool]
) -> None:
    recipe = Recipe(turned=dict(turned))
    if architecture.name not in COMPILED[recipe.key]:
        pytest.skip("one of each class is compiled")
    setting = Setting(machine, small.card, small.workload, "cpu")
    reasons = [KNOB_OF[name].refuses(choice, setting) for name, choice in turned.items()]
    if any(reasons):
        pytest.skip(f"{architecture.name}: {reasons}")
    images = [
        np.asarray(call_pipeline(assemble(each, small), small.workload, "a red circle", 3, output_type="np"))
        for each in (UNMODIFIED, recipe)
    ]
    assert np.abs(images[0] - images[1]).max() < 1e-3
