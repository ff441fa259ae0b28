"""Quantization on small pipelines of real classes: which layers take which kind, and what a machine cannot have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autotune.probes.accelerators import Accelerator
from autotune.probes.model import Tensor, read_model
from autotune.search.assemble import assemble
from autotune.search.knobs import Bench, Setting, torchao
from autotune.search.pipeline import call_pipeline
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.space import Space, space_for
from autotune.search.verify.architectures import ARCHITECTURES
from autotune.tests.search.small import bench_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from autotune.probes.machine import Machine

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # torch, torchao and quanto warn of each other
OF = {each.name: each for each in ARCHITECTURES}


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    return {name: bench_of(OF[name], tmp_path_factory.mktemp(name)) for name in ("sd", "sdxl", "flux", "sana")}


def image(bench: Bench, turned: Mapping[str, Choice]) -> np.ndarray:
    pipe = assemble(Recipe(turned=dict(turned)), bench)
    return np.asarray(call_pipeline(pipe, bench.workload, "a red circle", 3, output_type="np")[0], dtype=np.float32)


def quantized(module: Any) -> set[str]:
    """Return the names of the layers whose weights torchao has."""
    return {
        name.removesuffix(".weight")
        for name, weight in module.named_parameters()
        if type(weight).__module__.startswith("torchao")
    }


def test_dynamic_int8_leaves_narrow_layers_and_takes_1x1_convolutions(benches: dict[str, Bench]) -> None:
    import torch

    flux = assemble(Recipe(turned={"quantization": "torchao_int8_dynamic_wide"}), benches["flux"]).transformer
    linear = {name for name, layer in flux.named_modules() if isinstance(layer, torch.nn.Linear)}
    assert linear - quantized(flux) == {"x_embedder"}  # its inputs are the 16 channels of a latent
    unet = assemble(Recipe(turned={"quantization": "torchao_int8_dynamic_wide"}), benches["sd"]).unet
    assert {name for name in quantized(unet) if name.endswith("proj_in.mod")}


@pytest.mark.parametrize(
    ("inputs", "outputs", "taken"), [(1280, 1280, True), (640, 640, False), (16, 3072, False), (2560, 1280, False)]
)
def test_wide_is_what_diffusion_fast_takes(inputs: int, outputs: int, *, taken: bool) -> None:
    assert torchao.KINDS["torchao_int8_dynamic_wide"].takes(Tensor("F32", (outputs, inputs))) is taken


def test_int4_on_a_cpu_takes_what_its_groups_fill(benches: dict[str, Bench]) -> None:
    flux = assemble(Recipe(turned={"quantization": "torchao_int4_cpu"}), benches["flux"]).transformer
    left = {"x_embedder"}  # 16 inputs
    assert {name for name, _ in flux.named_modules() if name.endswith("to_q")} <= quantized(flux)
    assert not left & quantized(flux)


@pytest.mark.parametrize("kind", ["bnb_nf4", "fp8_storage", "gguf_q4_0", "torchao_int8_dynamic"])
@pytest.mark.parametrize("name", ["flux", "sana"])
def test_text_encoders_of_every_kind(benches: dict[str, Bench], name: str, kind: str) -> None:
    found = image(benches[name], {"text_encoder_quantization": kind, "precision": "bf16"})
    assert np.isfinite(found).all()
    assert np.abs(found - image(benches[name], {"precision": "bf16"})).mean() < 0.1


@pytest.mark.parametrize("name", ["sdxl", "sana"])
def test_a_vae_stored_in_fp8(benches: dict[str, Bench], name: str) -> None:
    import torch

    pipe = assemble(Recipe(turned={"vae_quantization": "fp8_storage", "precision": "bf16"}), benches[name])
    assert torch.float8_e4m3fn in {weight.dtype for weight in pipe.vae.parameters()}
    apart = np.abs(image(benches[name], {"vae_quantization": "fp8_storage"}) - image(benches[name], {})).mean()
    assert 0 < apart < 0.1


@pytest.mark.parametrize("name", ["sd", "sdxl", "flux", "sana"])
def test_a_vae_stays_in_fp32(benches: dict[str, Bench], name: str) -> None:
    import torch

    recipe = Recipe(turned={"vae_precision": "fp32", "precision": "bf16"})
    pipe = assemble(recipe, benches[name])
    assert {weight.dtype for weight in pipe.vae.parameters()} == {torch.float32}
    assert {weight.dtype for weight in getattr(pipe, benches[name].card.denoiser.name).parameters()} == {torch.bfloat16}
    exact, half = (image(benches[name], turned) for turned in ({}, {"precision": "bf16"}))
    assert np.abs(image(benches[name], recipe.turned) - exact).mean() < np.abs(half - exact).mean() + 0.002


@pytest.mark.parametrize("kind", ["quanto_int8", "quanto_fp8"])
def test_quanto_while_it_loads(benches: dict[str, Bench], kind: str) -> None:
    pytest.importorskip("optimum.quanto", reason="needs the extra quanto")
    pipe = assemble(Recipe(turned={"quantization": kind}), benches["flux"])
    assert "QLinear" in {type(module).__name__ for module in pipe.transformer.modules()}
    assert 0 < np.abs(image(benches["flux"], {"quantization": kind}) - image(benches["flux"], {})).mean() < 0.1


def space_on(machine: Machine, bench: Bench, capability: tuple[int, int] | None, **versions: str) -> Space:
    gpu = Accelerator(kind="cuda", index=0, name="GPU", total_bytes=8 * 2**30, compute_capability=capability)
    software = machine.software.model_copy(update={"versions": {**machine.software.versions, **versions}})
    there = machine.model_copy(update={"accelerators": (gpu,) if capability else (), "software": software})
    return space_for(Setting(there, bench.card, bench.workload, "cuda" if capability else "cpu"))


def test_each_kind_is_refused_where_it_has_no_kernels(machine: Machine, benches: dict[str, Bench]) -> None:
    versions = dict.fromkeys(("torchao", "gguf"), "1")
    cpu, ampere, ada, hopper, blackwell = (
        space_on(machine, benches["flux"], capability, **versions)
        for capability in (None, (8, 0), (8, 9), (9, 0), (10, 0))
    )
    only = [{str(c) for c in space.choices["quantization"]} for space in (cpu, ampere, ada, hopper, blackwell)]
    assert "torchao_int4_cpu" in only[0] - only[1]
    assert only[1] - only[0] == {"torchao_int4_weight_only"}
    assert only[2] - only[1] == {"torchao_fp8_dynamic", "torchao_fp8_dynamic_row"}
    assert only[3] == only[2]
    assert "needs mslk" in hopper.refused["quantization", "torchao_fp8_dynamic_int4"]
    assert only[4] - only[3] == {"torchao_mxfp8_dynamic", "torchao_nvfp4_dynamic"}
    with_mslk = space_on(machine, benches["flux"], (9, 0), mslk="1.1", **versions)
    assert "torchao_fp8_dynamic_int4" in with_mslk.choices["quantization"]


def test_a_kind_that_would_find_no_layer_is_refused(machine: Machine, tiny: Path, benches: dict[str, Bench]) -> None:
    card = read_model(tiny)  # its layers have 8 and 16 channels, but for the one with 32
    narrow = Bench(**{**vars(benches["sd"]), "card": card})
    refused = space_on(machine, narrow, (9, 0), torchao="1", mslk="1").refused
    assert "no linear layer of the unet" in refused["quantization", "torchao_fp8_dynamic_int4"]


def test_unmodified_is_not_touched(benches: dict[str, Bench]) -> None:
    pipe = assemble(UNMODIFIED, benches["sdxl"])
    assert not quantized(pipe.unet)
    assert "decode" not in vars(pipe.vae)
