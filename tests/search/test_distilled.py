"""Distilled variants on a real, tiny pipeline: only where they are allowed, and another model when they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autotune.planner.added import additions_of
from autotune.planner.request import Request, task_of
from autotune.search.additions import NOTHING_ADDED, Additions, distilled_in
from autotune.search.assemble import assemble, calls, workload_of
from autotune.search.knobs import KNOBS
from autotune.search.pipeline import call_pipeline
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.space import space_for

from ..additions import write_adapter, write_small_unet, write_tiny_vae

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from autotune.probes.machine import Machine
    from autotune.search.task import Task

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # as the processes of trials do


@pytest.fixture(scope="module")
def plain(tiny: Path, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Task:
    found, _ = task_of(Request(model=str(tiny), steps=12), machine)
    return replace(found, prompts=found.prompts[:8], artifacts=tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def task(plain: Task, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The same with every variant there and allowed."""
    folder = tmp_path_factory.mktemp("variants")
    places = {
        "tiny_vae": str(write_tiny_vae(folder / "vae")),
        "small_denoiser": str(write_small_unet(folder / "unet", tiny)),
        "lcm_lora": str(write_adapter(folder / "lcm.safetensors", tiny, seed=9)),
    }
    added = additions_of(plain.card, plain.machine.software, (), places, allowed=True)
    return replace(plain, added=added)


def assembled(task: Task, turned: dict[str, Choice]) -> Any:
    recipe = Recipe(turned=turned)
    return assemble(recipe, task.order(recipe, task.artifacts).bench())


def image(task: Task, turned: dict[str, Choice], pipe: Any = None) -> np.ndarray:
    recipe = Recipe(turned=turned)
    bench = task.order(recipe, task.artifacts).bench()
    pipe = pipe or assemble(recipe, bench)
    images = call_pipeline(pipe, bench.workload, "a red circle", 3, output_type="np", **calls(recipe, bench))
    found: np.ndarray = np.asarray(images[0], dtype=np.float32)
    return found


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize("name", ["tiny_vae", "small_denoiser", "lcm_lora"])
def test_what_is_not_allowed_or_not_there_is_refused(plain: Task, task: Task, name: str) -> None:
    choices = next(knob.choices for knob in KNOBS if knob.name == name)
    turned = Recipe(turned={name: choices[-1]})
    assert "--allow distilled" in (space_for(plain.setting).why_not(turned) or "")
    allowed = replace(plain, added=Additions(distilled_allowed=True))
    assert f"--distilled {name}=PATH" in (space_for(allowed.setting).why_not(turned) or "")
    assert turned in space_for(task.setting)
    assert distilled_in(turned)
    assert not distilled_in(UNMODIFIED)


@pytest.mark.parametrize(
    ("turned", "because"),
    [
        ({"lcm_lora": "4_steps", "small_denoiser": True}, "small one lacks"),
        ({"lcm_lora": "4_steps", "guidance_cutoff": 0.5}, "without guidance"),
        ({"lcm_lora": "8_steps", "feature_cache": "deepcache_2"}, "so few steps"),
        ({"lcm_lora": "8_steps", "quantization": "torchao_int8_weight_only"}, "does not fuse adapters"),
    ],
    ids=str,
)
def test_what_does_not_go_with_them_is_refused(task: Task, turned: dict[str, Choice], because: str) -> None:
    assert because in (space_for(task.setting).why_not(Recipe(turned=turned)) or "")


def test_a_small_denoiser_is_of_the_denoisers_own_class(task: Task) -> None:
    assert task.added.small_denoiser
    other = task.added.small_denoiser.model_copy(update={"class_name": "UNet3DConditionModel"})
    added = task.added.model_copy(update={"small_denoiser": other})
    space = space_for(replace(task, added=added).setting)
    assert "was given a UNet3DConditionModel" in space.refused["small_denoiser", True]


def test_few_steps_must_be_fewer_than_there_are(task: Task) -> None:
    shorter = replace(task, workload=task.workload.model_copy(update={"steps": 8}))
    space = space_for(shorter.setting)
    assert space.choices["lcm_lora"] == ("none", "4_steps")
    assert "only 8 steps" in space.refused["lcm_lora", "8_steps"]


def test_a_tiny_vae_decodes_in_the_place_of_the_vae(task: Task) -> None:
    pipe = assembled(task, {"tiny_vae": True})
    assert type(pipe.vae).__name__ == "AutoencoderTiny"
    assert apart(image(task, {"tiny_vae": True}, pipe), image(task, {})) > 0.01


def test_a_small_denoiser_has_fewer_blocks(task: Task) -> None:
    pipe, whole = assembled(task, {"small_denoiser": True}), assembled(task, {})
    sizes = [sum(weight.numel() for weight in each.unet.parameters()) for each in (pipe, whole)]
    assert sizes[0] < sizes[1]
    assert apart(image(task, {"small_denoiser": True}, pipe), image(task, {})) > 0


def test_an_lcm_adapter_brings_its_sampler_and_few_unguided_steps(task: Task) -> None:
    recipe = Recipe(turned={"lcm_lora": "4_steps"})
    pipe = assembled(task, {"lcm_lora": "4_steps"})
    batches: list[int] = []
    pipe.unet.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
    found = image(task, {"lcm_lora": "4_steps"}, pipe)
    assert type(pipe.scheduler).__name__ == "LCMScheduler"
    assert batches == [1, 1, 1, 1], "four steps, without an unconditional half"
    assert not pipe.get_list_adapters(), "it is fused"
    assert (workload_of(recipe, task.workload).steps, workload_of(UNMODIFIED, task.workload).steps) == (4, 12)
    assert apart(found, image(task, {})) > 0.01


@pytest.mark.parametrize(
    ("turned", "within"),
    [
        ({"tiny_vae": True}, 1e-4),
        ({"small_denoiser": True}, 1e-4),
        ({"lcm_lora": "4_steps"}, 1e-4),
        ({"lcm_lora": "4_steps", "tiny_vae": True}, 1e-4),
    ],
    ids=str,
)
def test_openvino_runs_what_torch_would(task: Task, turned: dict[str, Choice], within: float) -> None:
    if "openvino" not in task.machine.software.versions:
        pytest.skip("openvino is not installed")
    assert apart(image(task, {**turned, "compile": "openvino"}), image(task, turned)) < within


@pytest.mark.parametrize(
    "more",
    [{"precision": "bf16"}, {"fuse_qkv": True}, {"memory_format": "channels_last"}, {"quantization": "bnb_int8"}],
    ids=str,
)
def test_other_knobs_are_turned_on_the_variants(task: Task, more: dict[str, Choice]) -> None:
    turned: dict[str, Choice] = {"lcm_lora": "8_steps", "tiny_vae": True}
    recipe = Recipe(turned={**turned, **more})
    if recipe not in space_for(task.setting):
        pytest.skip(space_for(task.setting).why_not(recipe) or "")
    assert apart(image(task, {**turned, **more}), image(task, turned)) < 0.02


def test_a_small_denoiser_is_quantized_while_it_loads(task: Task) -> None:
    if "torchao" not in task.machine.software.versions:
        pytest.skip("torchao is not installed")
    pipe = assembled(task, {"small_denoiser": True, "quantization": "torchao_int8_weight_only"})
    kinds = {type(weight).__name__ for weight in pipe.unet.parameters()}
    assert len(kinds) > 1, "nothing was quantized"


def test_the_scope_names_what_is_allowed(plain: Task, task: Task) -> None:
    assert plain.scope.distilled == plain.scope.adapters == ()
    assert [key.partition("@")[0] for key in task.scope.distilled] == ["tiny_vae", "small_denoiser", "lcm_lora"]
    assert plain.scope.key != task.scope.key
    assert plain.scope.serves((), task.scope.distilled), "who allows more may have less"
    assert not task.scope.serves((), ())
    assert NOTHING_ADDED.options == ()
    assert task.added.options[:2] == ("--allow", "distilled")
