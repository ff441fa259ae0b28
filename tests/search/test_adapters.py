"""Adapters on a real, tiny pipeline: in the baseline, in every trial and in what is converted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autotune.errors import UnfitError
from autotune.planner.request import Request, task_of
from autotune.probes.adapter import read_adapter
from autotune.search.additions import Additions
from autotune.search.assemble import assemble, calls
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.pipeline import call_pipeline
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.space import space_for

from ..additions import write_adapter

if TYPE_CHECKING:
    from pathlib import Path

    from autotune.probes.machine import Machine
    from autotune.search.task import Task

# torch, OpenVINO and NNCF warn of each other's ways, which the processes of trials do not turn into errors
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def adapters(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three adapters for the tiny pipeline, as a user names them; `text` is for its text encoder too."""
    folder = tmp_path_factory.mktemp("adapters")
    write_adapter(folder / "one.safetensors", tiny, rank=4, seed=1)
    write_adapter(folder / "two.safetensors", tiny, rank=8, seed=2)
    write_adapter(folder / "text.safetensors", tiny, rank=2, seed=3, text=True)
    return {name: str(folder / f"{name}.safetensors") for name in ("one", "two", "text")}


@pytest.fixture(scope="module")
def plain(tiny: Path, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Task:
    found, _ = task_of(Request(model=str(tiny), steps=4), machine)
    return replace(found, prompts=found.prompts[:8], artifacts=tmp_path_factory.mktemp("artifacts"))


def adapted(task: Task, *texts: str) -> Task:
    return replace(task, added=Additions(adapters=tuple(map(read_adapter, texts))))


def image(task: Task, turned: dict[str, Choice] | None = None) -> np.ndarray:
    """Return one image of a recipe, float32 in 0..1."""
    recipe = Recipe(turned=turned or {})
    bench = task.order(recipe, task.artifacts).bench()
    pipe = assemble(recipe, bench)
    images = call_pipeline(pipe, bench.workload, "a red circle", 3, output_type="np", **calls(recipe, bench))
    found: np.ndarray = np.asarray(images[0], dtype=np.float32)
    return found


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


def test_an_adapter_changes_the_image_as_much_as_its_scale_says(plain: Task, adapters: dict[str, str]) -> None:
    without = image(plain)
    far, near = (apart(image(adapted(plain, f"{adapters['one']}:{scale}")), without) for scale in (1.0, 0.01))
    assert far > 0.01 > near > 0


def test_several_are_added_together_in_any_order(plain: Task, adapters: dict[str, str]) -> None:
    texts = [f"{adapters['text']}:0.8", f"{adapters['two']}:1.5"]
    both = image(adapted(plain, *texts))
    assert apart(both, image(adapted(plain, *reversed(texts)))) == 0
    assert all(apart(both, image(adapted(plain, text))) > 1e-3 for text in texts)


@pytest.mark.parametrize(
    ("turned", "within"),
    [
        ({"lora": "fused"}, 1e-5),
        ({"lora": "fused", "fuse_qkv": True}, 1e-5),
        ({"compile": "openvino"}, 1e-5),
        ({"attention": "eager"}, 1e-5),
        ({"memory_format": "channels_last"}, 1e-5),
        ({"precision": "bf16"}, 0.02),
        ({"lora": "fused", "precision": "bf16"}, 0.02),
        ({"quantization": "torchao_int8_weight_only"}, 0.01),
        ({"quantization": "torchao_fp8_weight_only"}, 0.02),
        ({"quantization": "bnb_int8"}, 0.01),
        ({"lora": "fused", "quantization": "bnb_int8"}, 0.01),
        ({"text_encoder_quantization": "bnb_int8"}, 0.01),
        ({"quantization": "fp8_storage"}, 0.02),
        ({"compile": "openvino", "quantization": "nncf_int8_weights"}, 0.02),
    ],
    ids=lambda part: " ".join(f"{k}={v}" for k, v in part.items()) if isinstance(part, dict) else "",
)
def test_what_goes_with_adapters_gives_their_image(
    plain: Task, adapters: dict[str, str], turned: dict[str, Choice], within: float
) -> None:
    task = adapted(plain, f"{adapters['text']}:0.8", adapters["two"])
    reason = space_for(task.setting).why_not(Recipe(turned=turned))
    if reason:
        assert "not installed" in reason
        pytest.skip(reason)
    found, wanted = image(task, turned), image(task)
    assert apart(found, wanted) < within
    assert apart(found, image(plain)) > 2 * apart(found, wanted), "nothing is seen of the adapters"


def test_features_are_cached_with_adapters_too(plain: Task, adapters: dict[str, str]) -> None:
    longer = replace(plain, workload=plain.workload.model_copy(update={"steps": 12}))
    task = adapted(longer, adapters["one"])
    turned: dict[str, Choice] = {"feature_cache": "deepcache_2"}
    attached, fused = image(task, turned), image(task, {**turned, "lora": "fused"})
    assert apart(attached, fused) < 1e-4
    assert apart(attached, image(longer, turned)) > 1e-3


@pytest.mark.parametrize(
    ("turned", "because"),
    [
        ({"fuse_qkv": True}, "adapters must be fused"),
        ({"fuse_qkv": True, "lora": "hotswap", "compile": "full"}, "adapters must be fused"),
        ({"lora": "fused", "quantization": "torchao_int8_weight_only"}, "peft does not fuse adapters"),
        ({"lora": "fused", "text_encoder_quantization": "torchao_int8_weight_only"}, "peft does not fuse adapters"),
        ({"lora": "fused", "compile": "openvino"}, "OpenVINO is given weights with the adapters in them"),
        ({"lora": "hotswap"}, "what is not compiled"),
        ({"lora": "hotswap", "compile": "regional", "quantization": "bnb_int8"}, "beside plain weights"),
    ],
    ids=str,
)
def test_what_does_not_go_with_them_is_refused(
    plain: Task, adapters: dict[str, str], turned: dict[str, Choice], because: str
) -> None:
    space = space_for(adapted(plain, adapters["one"]).setting)
    found = {**space.choices, "compile": ("none", "regional", "full", "openvino")}
    assert because in (replace(space, choices=found).why_not(Recipe(turned=turned)) or "")


def test_fused_projections_would_leave_them_out(plain: Task, adapters: dict[str, str]) -> None:
    """The rule is there for this; a diffusers that can do it will fail here, and the rule can go."""
    task = adapted(plain, adapters["two"])
    assert apart(image(task, {"fuse_qkv": True}), image(task)) > 1e-3


def test_without_adapters_there_is_nothing_to_join(plain: Task) -> None:
    space = space_for(plain.setting)
    assert space.choices["lora"] == ("attached",)
    assert "--lora PATH" in space.refused["lora", "fused"]
    assert Recipe(turned={"fuse_qkv": True}) in space


def test_swapping_is_for_one_and_not_for_a_text_encoder(plain: Task, adapters: dict[str, str]) -> None:
    two = space_for(adapted(plain, adapters["one"], adapters["two"]).setting)
    assert "2 were named" in two.refused["lora", "hotswap"]
    text = space_for(adapted(plain, adapters["text"]).setting)
    assert "text encoders" in text.refused["lora", "hotswap"]


def test_without_peft_nothing_is_joined(plain: Task, adapters: dict[str, str]) -> None:
    software = plain.machine.software
    bare = software.model_copy(update={"versions": {k: v for k, v in software.versions.items() if k != "peft"}})
    task = replace(adapted(plain, adapters["one"]), machine=plain.machine.model_copy(update={"software": bare}))
    assert "autotune-diffusers[lora]" in space_for(task.setting).refused["lora", "fused"]


def test_an_adapter_for_another_model_is_no_adapter(plain: Task, adapters: dict[str, str], tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(adapters["one"])
    other = tmp_path / "other.safetensors"
    save_file({f"transformer.{name.removeprefix('unet.')}": tensor for name, tensor in tensors.items()}, other)
    with pytest.raises(UnfitError, match="is for another model"):
        image(adapted(plain, str(other)))


def test_a_graph_with_an_adapter_is_another_graph(plain: Task, adapters: dict[str, str]) -> None:
    from autotune.search.assemble import choices_of
    from autotune.search.knobs.openvino.parts import parts_of

    choices = choices_of(Recipe(turned={"compile": "openvino"}))
    folders = []
    for texts in ([], [adapters["one"]], [f"{adapters['one']}:0.5"], [adapters["two"]]):
        bench = adapted(plain, *texts).order(UNMODIFIED, plain.artifacts).bench()
        folders.append({each.part.component: each.folder(bench) for each in parts_of(choices, bench)})
    assert len({found["unet"] for found in folders}) == 4
    assert len({found["vae"] for found in folders}) == 1, "an adapter is nothing to the VAE"


@pytest.mark.slow
def test_swapping_an_adapter_compiles_nothing_again(plain: Task, adapters: dict[str, str]) -> None:
    import torch
    from torch._dynamo.utils import counters

    def compiled(pipe: Any) -> int:
        call_pipeline(pipe, plain.workload, "a red circle", 3)
        return int(counters["stats"]["unique_graphs"])

    task = adapted(plain, f"{adapters['one']}:0.7")
    recipe = Recipe(turned={"lora": "hotswap", "compile": "regional"})
    assert recipe in space_for(task.setting) or not task.machine.software.cxx_compiler
    if not task.machine.software.cxx_compiler:
        pytest.skip("inductor finds no C++ compiler here")
    torch._dynamo.reset()
    counters.clear()
    pipe = assemble(recipe, task.order(recipe, plain.artifacts).bench())
    assert apart(_image(plain, pipe), image(task)) < 1e-4
    before = compiled(pipe)
    pipe.load_lora_weights(adapters["two"], adapter_name="lora_0", hotswap=True)
    assert before > 0
    assert compiled(pipe) == before
    assert apart(_image(plain, pipe), image(adapted(plain, adapters["two"]))) < 1e-4


def _image(task: Task, pipe: Any) -> np.ndarray:
    return np.asarray(call_pipeline(pipe, task.workload, "a red circle", 3, output_type="np")[0], dtype=np.float32)


@pytest.mark.slow
def test_trials_have_the_adapters_in_the_baseline_too(plain: Task, adapters: dict[str, str]) -> None:
    from PIL import Image

    task = adapted(plain, adapters["two"])
    found = []
    for one in (plain, task):
        with IsolatedEvaluator(one, ("torch", "diffusers:StableDiffusionPipeline")) as evaluator:
            for recipe in (UNMODIFIED, Recipe(turned={"precision": "bf16"})):
                trial = evaluator.evaluate(0, recipe, float("inf"), float("inf"))
                assert trial.outcome == "ok", trial.detail
                found.append(np.asarray(Image.open(evaluator._image(recipe, 0)), dtype=np.float32) / 255)
    plain_base, plain_bf16, base, bf16 = found
    assert apart(plain_base, base) > 0.01
    assert apart(plain_bf16, bf16) > 0.01
    assert apart(base, bf16) < 0.02
