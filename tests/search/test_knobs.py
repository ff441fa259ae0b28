"""Knobs turned on a real, tiny pipeline: each does something, and what claims to be exact is."""

from __future__ import annotations

import logging
import random
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autotune.planner.request import Request, task_of
from autotune.search.assemble import assemble, calls, choices_of
from autotune.search.knobs import KNOBS, Bench, Knob, Setting, openvino
from autotune.search.knobs.openvino.parts import parts_of
from autotune.search.pipeline import call_pipeline
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.space import space_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from autotune.probes.machine import Machine

# torch, OpenVINO and NNCF warn of each other's ways, which the processes of trials do not turn into errors
pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = 4
PAIRS = 30
ROUNDING = 0.02  # of a pixel's range: what half the digits, or another order of sums, may change


@pytest.fixture(scope="module")
def setting(tiny: Path, machine: Machine) -> Setting:
    task, _ = task_of(Request(model=str(tiny), steps=STEPS), machine)
    return task.setting


@pytest.fixture(scope="module")
def bench(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(
        card=setting.card,
        workload=setting.workload.model_copy(update={"guidance": 4.0}),
        device="cpu",
        artifacts=tmp_path_factory.mktemp("artifacts"),
        software=setting.machine.software.key,
        calibration_prompts=("a red circle", "a blue square"),
    )


def image(bench: Bench, recipe: Recipe) -> np.ndarray:
    """Return one image of a recipe, float32 in 0..1."""
    pipe = assemble(recipe, bench)
    images = call_pipeline(pipe, bench.workload, "a red circle", 3, output_type="np", **calls(recipe, bench))
    found: np.ndarray = np.asarray(images[0], dtype=np.float32)
    return found


@pytest.fixture(scope="module")
def unmodified(bench: Bench) -> np.ndarray:
    return image(bench, UNMODIFIED)


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """Threads are the whole process's, and no business of the next test's."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


KNOB_OF = {knob.name: knob for knob in KNOBS}
SLOW_TO_MAKE = {"regional", "full", "nncf_int8"}  # and whatever vae_compile is combined with
TURNS = [
    (knob, choice)
    for knob in KNOBS
    for choice in knob.choices
    if choice != knob.default and choice not in SLOW_TO_MAKE and knob.name != "vae_compile"
]


@pytest.mark.parametrize(("knob", "choice"), TURNS, ids=lambda part: part.name if isinstance(part, Knob) else str(part))
def test_a_knob_alone_gives_an_image_that_it_may_give(
    setting: Setting, bench: Bench, unmodified: np.ndarray, knob: Knob, choice: Choice
) -> None:
    recipe = Recipe(turned={knob.name: choice})
    reason = space_for(setting).why_not(recipe)
    if reason:
        pytest.skip(f"not on this machine: {reason}")
    found = image(bench, recipe)
    assert np.isfinite(found).all()
    apart = float(np.abs(found - unmodified).mean())
    if choice in knob.lossy:
        assert apart > 0, "it silently does nothing"
    else:
        assert apart < ROUNDING, "it claims to be exact"


@pytest.mark.slow
def test_pairs_that_are_allowed_give_an_image(setting: Setting, bench: Bench) -> None:
    """A sample: `autotune verify --pairs` runs every one, in processes of their own."""
    space = space_for(setting)
    pairs = [
        Recipe(turned={one.name: mine, other.name: theirs})
        for (one, mine), (other, theirs) in combinations(TURNS, 2)
        if one != other
    ]
    allowed = [recipe for recipe in pairs if recipe in space]
    assert len(allowed) > 50
    broken = {}
    for recipe in random.Random(11).sample(allowed, PAIRS):
        try:
            assert np.isfinite(image(bench, recipe)).all(), "not finite"
        except Exception as error:  # noqa: BLE001 - all that do not work are to be named
            broken[recipe.key] = f"{type(error).__name__}: {error}"[:200]
    assert broken == {}


def test_a_knob_that_is_set_to_its_default_is_not_turned(bench: Bench) -> None:
    """`compile=none`, written out, once compiled everything."""
    pipe = assemble(Recipe(turned={knob.name: knob.default for knob in KNOBS}), bench)
    assert not any(module._compiled_call_impl for module in pipe.unet.modules())
    assert calls(Recipe(turned={"guidance_cutoff": 1.0}), bench) == {}


def test_fused_projections_are_fused(bench: Bench) -> None:
    pipe = assemble(Recipe(turned={"fuse_qkv": True}), bench)
    assert any(getattr(module, "fused_projections", False) for module in pipe.unet.modules())


def test_eager_attention_is_the_processor_from_before_sdpa(bench: Bench) -> None:
    pipe = assemble(Recipe(turned={"attention": "eager"}), bench)
    assert {type(processor).__name__ for processor in pipe.unet.attn_processors.values()} == {"AttnProcessor"}


def denoised(bench: Bench, pipe: Any, recipe: Recipe) -> list[int]:
    """Return the batch size of each of the denoiser's calls in one call of the pipeline."""
    sizes: list[int] = []
    hook = pipe.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    call_pipeline(pipe, bench.workload, "a red circle", 3, **calls(recipe, bench))
    hook.remove()
    return sizes


@pytest.mark.parametrize("batch", [1, 2])
def test_guidance_ends_where_it_is_cut_off_in_every_call(bench: Bench, batch: int) -> None:
    wider = Bench(**{**vars(bench), "workload": bench.workload.model_copy(update={"batch": batch})})
    recipe = Recipe(turned={"guidance_cutoff": 0.5})
    pipe = assemble(recipe, wider)
    for _ in range(2):
        assert denoised(wider, pipe, recipe) == [2 * batch, 2 * batch, batch, batch]


def test_a_call_without_guidance_has_none_to_cut_off(bench: Bench) -> None:
    unguided = Bench(**{**vars(bench), "workload": bench.workload.model_copy(update={"guidance": 1.0, "batch": 2})})
    recipe = Recipe(turned={"guidance_cutoff": 0.5})
    assert denoised(unguided, assemble(recipe, unguided), recipe) == [2] * STEPS


def test_openvino_has_a_graph_for_each_half_of_a_guidance_that_ends(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    cutoff = Recipe(turned={"guidance_cutoff": 0.5})
    both = Recipe(turned={"guidance_cutoff": 0.5, "compile": "openvino"})
    with caplog.at_level(logging.WARNING):
        apart = np.abs(image(bench, both) - image(bench, cutoff)).mean()
    assert apart < 1e-3
    assert "another shape" not in caplog.text


def test_channels_last_are_last(bench: Bench) -> None:
    import torch

    pipe = assemble(Recipe(turned={"memory_format": "channels_last"}), bench)
    for weight in (pipe.unet.conv_in.weight, pipe.vae.decoder.conv_in.weight):
        assert weight.is_contiguous(memory_format=torch.channels_last)
        assert not weight.is_contiguous()


def test_under_openvino_every_part_is_a_graph_and_no_weights_are_read(bench: Bench, unmodified: np.ndarray) -> None:
    recipe = Recipe(turned={"compile": "openvino"})
    pipe = assemble(recipe, bench)
    for part in (pipe.text_encoder, pipe.unet, pipe.vae):
        assert not list(part.parameters())
    images = call_pipeline(pipe, bench.workload, "a red circle", 3, output_type="np")
    assert np.abs(images[0] - unmodified).mean() < 1e-5


def test_what_has_no_graph_is_answered_by_the_original(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    import torch

    pipe = assemble(Recipe(turned={"compile": "openvino"}), bench)
    assert pipe.vae.config.latent_channels == 4
    assert pipe.unet.conv_in.out_channels == 8
    latents = pipe.vae.encode(torch.zeros(1, 3, 16, 16)).latent_dist.mean
    assert latents.isfinite().all()
    with caplog.at_level(logging.WARNING):
        assert pipe.vae.decode(torch.zeros(2, *latents.shape[1:])).sample.shape == (2, 3, 16, 16)
    assert "another shape" in caplog.text
    with pytest.raises(AttributeError, match="no_such"):
        _ = pipe.vae.no_such


@pytest.mark.parametrize(
    ("knob", "choice", "component"),
    [
        ("quantization", "nncf_int8", "unet"),
        ("quantization", "nncf_int8_weights", "unet"),
        ("quantization", "nncf_int4_weights", "unet"),
        ("text_encoder_quantization", "nncf_int8_weights", "text_encoder"),
        ("vae_quantization", "nncf_int8", "vae"),
    ],
)
def test_what_nncf_quantizes_is_smaller_and_not_the_same(
    bench: Bench, unmodified: np.ndarray, knob: str, choice: str, component: str
) -> None:
    sizes = []
    for turned in ({"compile": "openvino"}, {"compile": "openvino", knob: choice}):
        choices = choices_of(Recipe(turned=turned))  # type: ignore[arg-type]  # dict is invariant
        openvino.build(choices, bench)
        folders = [each.folder(bench) for each in parts_of(choices, bench) if each.part.component == component]
        sizes.append(sum((folder / "graph.bin").stat().st_size for folder in folders))
    assert sizes[1] < 0.75 * sizes[0]
    quantized = image(bench, Recipe(turned={"compile": "openvino", knob: choice}))
    assert 0 < np.abs(quantized - unmodified).mean() < 0.1


@pytest.mark.parametrize("choice", ["torchao_int8_weight_only", "bnb_nf4", "fp8_storage"])
def test_text_encoders_are_quantized_and_nothing_else_is(bench: Bench, choice: str) -> None:
    recipe = Recipe(turned={"text_encoder_quantization": choice, "precision": "bf16"})
    pipe = assemble(recipe, bench)
    plain = assemble(Recipe(turned={"precision": "bf16"}), bench)

    def kinds(module: Any) -> set[str]:
        return {f"{type(tensor).__name__} {tensor.dtype}" for tensor in module.parameters()}

    assert kinds(pipe.text_encoder) != kinds(plain.text_encoder)
    assert kinds(pipe.unet) == kinds(plain.unet)


def test_tokens_are_merged_where_the_first_attention_is(bench: Bench) -> None:
    from diffusers import UNet2DConditionModel

    pipe = assemble(Recipe(turned={"tome_ratio": 0.5}), bench)
    assert pipe.unet._tome_info["args"]["max_downsample"] == 1
    config = dict(pipe.unet.config) | {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D")}
    as_in_sdxl = UNet2DConditionModel.from_config(config | {"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")})
    pipe = assemble(UNMODIFIED, bench)
    pipe.unet = as_in_sdxl
    KNOB_OF["tome_ratio"].apply(pipe, choices_of(Recipe(turned={"tome_ratio": 0.5})), bench)
    assert pipe.unet._tome_info["args"]["max_downsample"] == 2
    assert denoised(bench, pipe, UNMODIFIED) == [2] * STEPS


@pytest.fixture
def many_steps(bench: Bench) -> Bench:
    return Bench(**{**vars(bench), "workload": bench.workload.model_copy(update={"steps": 12})})


def test_deep_features_are_computed_every_so_many_steps(many_steps: Bench) -> None:
    pipe = assemble(Recipe(turned={"feature_cache": "deepcache_3"}), many_steps)
    ran: list[str] = []
    for half in ("whole", "shallow"):
        module = getattr(pipe.unet.deepcache, half)
        module.register_forward_hook(lambda *_, half=half: ran.append(half))
    for _ in range(2):
        call_pipeline(pipe, many_steps.workload, "a red circle", 3)
    assert ran == ["whole", "shallow", "shallow"] * 8


def test_features_that_are_never_used_again_change_nothing(many_steps: Bench) -> None:
    from autotune.search.knobs.deepcache import DeepCache

    pipe = assemble(UNMODIFIED, many_steps)
    wanted = call_pipeline(pipe, many_steps.workload, "a red circle", 3, output_type="np")
    pipe = assemble(Recipe(turned={"feature_cache": "deepcache_2"}), many_steps)
    DeepCache(pipe.unet.deepcache.whole, pipe.unet.deepcache.shallow, interval=1).install(pipe.unet)
    assert (call_pipeline(pipe, many_steps.workload, "a red circle", 3, output_type="np") == wanted).all()


def test_the_shallow_half_on_fresh_features_is_the_whole(many_steps: Bench) -> None:
    import torch

    pipe = assemble(Recipe(turned={"feature_cache": "deepcache_2"}), many_steps)
    latents, states = torch.randn(2, 4, 8, 8), torch.randn(2, 24, 16)
    with torch.no_grad():
        whole, deep = pipe.unet.deepcache.whole(latents, 5, states, return_dict=False)
        shallow = pipe.unet.deepcache.shallow(deep, latents, 5, states, return_dict=False)[0]
    assert torch.equal(whole, shallow)


@pytest.mark.parametrize("cutoff", [1.0, 0.5])
def test_openvino_has_a_graph_for_each_half_of_a_cached_denoiser(
    many_steps: Bench, cutoff: float, caplog: pytest.LogCaptureFixture
) -> None:
    turned: dict[str, Choice] = {"feature_cache": "deepcache_3", "guidance_cutoff": cutoff}
    with caplog.at_level(logging.WARNING):
        images = [image(many_steps, Recipe(turned={**turned, "compile": choice})) for choice in ("none", "openvino")]
    assert np.abs(images[0] - images[1]).mean() < 1e-4
    assert "another shape" not in caplog.text
    assert np.abs(images[0] - image(many_steps, UNMODIFIED)).mean() > 1e-3
