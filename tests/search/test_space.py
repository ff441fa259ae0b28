"""Recipes, rules and the space: what may be tried, and why the rest may not."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.probes.accelerators import Accelerator
from autotune.probes.machine import Machine
from autotune.probes.model import Component, ModelCard
from autotune.search import knobs
from autotune.search.assemble import choices_of
from autotune.search.knobs import KNOBS, Setting
from autotune.search.knobs.offload import OFFLOAD
from autotune.search.portfolio import KNOWN_GOOD, PROMISING, portfolio, promise
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.rules import RULES, refusal
from autotune.search.space import COUNTABLE, Space, as_open, recipe_of, space_for
from autotune.search.workload import Workload

ANY_CHOICES = st.fixed_dictionaries({knob.name: st.sampled_from(knob.choices) for knob in KNOBS})
EVERYTHING = Space({knob.name: knob.choices for knob in KNOBS}, {})

BREAKS = {
    "nncf_needs_openvino": {"vae_quantization": "nncf_int8"},
    "openvino_takes_plain_weights": {"compile": "openvino", "text_encoder_quantization": "bnb_int8"},
    "openvino_or_offload": {"compile": "openvino", "offload": "model"},
    "fuse_before_quantizing": {"fuse_qkv": True, "quantization": "bnb_int8"},
    "fused_projections_bring_their_processor": {"fuse_qkv": True, "attention": "eager"},
    "openvino_fuses_itself": {"fuse_qkv": True, "compile": "openvino"},
    "openvino_knows_deepcache_alone": {"compile": "openvino", "feature_cache": "first_block_0.08"},
    "kept_features_or_cuda_graphs": {"compile": "reduce_overhead", "feature_cache": "deepcache_3"},
    "fastercache_or_guidance_cutoff": {"feature_cache": "fastercache", "guidance_cutoff": 0.5},
    "counted_steps_or_guidance_cutoff": {"feature_cache": "magcache_0.06", "guidance_cutoff": 0.5},
    "cache_dit_or_group_offload": {"feature_cache": "cache_dit_0.24", "offload": "group_leaf"},
    "openvino_lays_out_memory": {"compile": "openvino", "memory_format": "channels_last"},
    "openvino_allocates_itself": {"compile": "openvino", "huge_pages": True},
    "offload_or_full_compile": {"compile": "full", "offload": "group_block"},
    "offload_or_vae_compile": {"vae_compile": True, "offload": "group_leaf"},
    "streams_or_tiles": {"vae_tiling": "tiling", "offload": "group_leaf_stream"},
    "torchao_or_disk": {"quantization": "torchao_int8_weight_only", "offload": "group_disk"},
    "openvino_compiles_the_decoder": {"compile": "openvino", "vae_compile": True},
    "openvino_decodes_at_once": {"compile": "openvino", "vae_tiling": "tiling"},
    "shapes_are_inductors": {"compile_shapes": "dynamic"},
    "flex_is_compiled": {"attention": "flex"},
    "kernels_in_half_precision": {"attention": "flash"},
    "bnb_4bit_or_sequential_offload": {"quantization": "bnb_nf4", "offload": "sequential"},
    "gguf_or_sequential_offload": {"text_encoder_quantization": "gguf_q8_0", "offload": "sequential"},
    "quanto_or_group_offload": {"quantization": "quanto_int8", "offload": "group_leaf"},
    "torchao_kernels_of_bf16": {"quantization": "torchao_fp8_dynamic_row", "precision": "fp16"},
    "vae_keeps_what_there_is": {"vae_precision": "fp32"},
    "openvino_has_its_own_precision": {"vae_precision": "fp32", "precision": "bf16", "compile": "openvino"},
    "fused_projections_leave_adapters_out": {"fuse_qkv": True},
    "torchao_quantizes_before_adapters_fuse": {"lora": "fused", "quantization": "torchao_int8_weight_only"},
    "int4_takes_no_adapters": {"quantization": "torchao_int4_weight_only", "precision": "bf16"},
    "openvino_fuses_adapters": {"compile": "openvino", "lora": "fused"},
    "hotswap_needs_compile": {"lora": "hotswap"},
    "hotswap_needs_plain_weights": {"lora": "hotswap", "compile": "full", "quantization": "bnb_int8"},
    "adapters_fit_the_whole_denoiser": {"small_denoiser": True, "lcm_lora": "4_steps"},
    "the_users_adapters_fit_the_whole_denoiser": {"small_denoiser": True},
    "few_steps_are_not_guided": {"lcm_lora": "4_steps", "guidance_cutoff": 0.5},
    "few_steps_share_no_features": {"lcm_lora": "4_steps", "feature_cache": "deepcache_3"},
}
KEEPS = {
    "nncf_needs_openvino": {"quantization": "nncf_int8", "compile": "openvino"},
    "openvino_takes_plain_weights": {"compile": "openvino", "quantization": "nncf_int8"},
    "openvino_or_offload": {"compile": "openvino"},
    "fuse_before_quantizing": {"fuse_qkv": True, "precision": "bf16"},
    "fused_projections_bring_their_processor": {"fuse_qkv": True, "attention": "native_flash"},
    "openvino_fuses_itself": {"fuse_qkv": True, "compile": "full"},
    "openvino_knows_deepcache_alone": {"compile": "openvino", "feature_cache": "deepcache_3"},
    "kept_features_or_cuda_graphs": {"compile": "full", "feature_cache": "first_block_0.08"},
    "fastercache_or_guidance_cutoff": {"feature_cache": "first_block_0.2", "guidance_cutoff": 0.5},
    "counted_steps_or_guidance_cutoff": {"feature_cache": "first_block_0.2", "guidance_cutoff": 0.5},
    "cache_dit_or_group_offload": {"feature_cache": "cache_dit_0.24", "offload": "model"},
    "openvino_lays_out_memory": {"compile": "regional", "memory_format": "channels_last"},
    "openvino_allocates_itself": {"compile": "full", "huge_pages": True},
    "offload_or_full_compile": {"compile": "regional", "offload": "group_block"},
    "offload_or_vae_compile": {"vae_compile": True, "offload": "model"},
    "streams_or_tiles": {"vae_tiling": "tiling", "offload": "group_leaf"},
    "torchao_or_disk": {"quantization": "torchao_int8_weight_only", "offload": "group_leaf"},
    "openvino_compiles_the_decoder": {"compile": "regional", "vae_compile": True},
    "openvino_decodes_at_once": {"compile": "regional", "vae_tiling": "tiling"},
    "shapes_are_inductors": {"compile": "regional", "compile_shapes": "dynamic"},
    "flex_is_compiled": {"attention": "flex", "compile": "regional"},
    "kernels_in_half_precision": {"attention": "flash", "precision": "bf16"},
    "bnb_4bit_or_sequential_offload": {"quantization": "bnb_nf4", "offload": "model"},
    "gguf_or_sequential_offload": {"text_encoder_quantization": "gguf_q8_0", "offload": "group_leaf"},
    "quanto_or_group_offload": {"quantization": "quanto_int8", "offload": "model"},
    "torchao_kernels_of_bf16": {"quantization": "torchao_fp8_dynamic_row", "precision": "bf16"},
    "vae_keeps_what_there_is": {"vae_precision": "fp32", "precision": "fp16"},
    "openvino_has_its_own_precision": {"precision": "bf16", "compile": "openvino"},
    "fused_projections_leave_adapters_out": {"fuse_qkv": True, "lora": "fused"},
    "torchao_quantizes_before_adapters_fuse": {"lora": "fused", "quantization": "bnb_nf4"},
    "int4_takes_no_adapters": {"quantization": "torchao_int8_weight_only"},
    "openvino_fuses_adapters": {"compile": "openvino"},
    "hotswap_needs_compile": {"lora": "hotswap", "compile": "full"},
    "hotswap_needs_plain_weights": {"lora": "hotswap", "compile": "full", "precision": "bf16"},
    "adapters_fit_the_whole_denoiser": {"tiny_vae": True, "lcm_lora": "4_steps"},
    "the_users_adapters_fit_the_whole_denoiser": {"tiny_vae": True},
    "few_steps_are_not_guided": {"lcm_lora": "4_steps"},
    "few_steps_share_no_features": {"lcm_lora": "4_steps", "tome_ratio": 0.25},
}


def setting_of(machine: Machine, *, unet: bool = True, device: str = "cpu") -> Setting:
    class_name = "UNet2DConditionModel" if unet else "SD3Transformer2DModel"
    denoiser = Component(
        name="unet" if unet else "transformer", library="diffusers", class_name=class_name, parameters=1, bytes=4
    )
    card = ModelCard(name="m", folder="/m", revision="r", pipeline_class="P", components=(denoiser,), native_pixels=64)
    return Setting(machine, card, Workload(width=64, height=64, steps=1, guidance=1.0), device)


@given(ANY_CHOICES)
def test_choices_and_recipes_say_the_same(choices: dict[str, str | float]) -> None:
    recipe = recipe_of(choices)
    assert choices_of(recipe) == choices
    assert recipe_of(choices_of(recipe)) == recipe


@given(ANY_CHOICES, ANY_CHOICES)
def test_equal_recipes_have_equal_keys(one: dict[str, str | float], other: dict[str, str | float]) -> None:
    assert (recipe_of(one).key == recipe_of(other).key) is (one == other)


def test_the_recipe_of_all_defaults_is_unmodified() -> None:
    assert recipe_of({knob.name: knob.default for knob in KNOBS}) == UNMODIFIED
    assert str(UNMODIFIED) == "unmodified"


def test_every_knob_file_is_in_the_tuple() -> None:
    folder = Path(knobs.__file__).parent
    names = {file.stem for file in folder.glob("*.py") if "= Knob(" in file.read_text()}
    assert names == {knob.name.removesuffix("_ratio").removesuffix("_cutoff") for knob in KNOBS}


def test_every_rule_has_a_case_on_both_sides() -> None:
    assert set(BREAKS) == set(KEEPS) == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_refuses_its_case_and_not_its_neighbour(rule: object) -> None:
    name = rule.name  # type: ignore[attr-defined]  # parametrize loses the type
    adapted: bool = rule.adapted  # type: ignore[attr-defined]  # the same
    broken = refusal(choices_of(Recipe(turned=BREAKS[name])), adapted=adapted)  # type: ignore[arg-type]  # dict is invariant
    assert broken is not None
    assert broken.name == name
    assert refusal(choices_of(Recipe(turned=KEEPS[name])), adapted=adapted) is None  # type: ignore[arg-type]  # dict is invariant


def test_reasons_and_sources_are_said() -> None:
    assert all(rule.because and rule.source for rule in RULES)
    assert all(knob.says and knob.source for knob in KNOBS)


def test_a_cpu_has_no_offload_and_no_fp16(machine: Machine) -> None:
    space = space_for(setting_of(machine.model_copy(update={"accelerators": ()})))
    assert space.choices["offload"] == ("none",)
    assert "fp16" not in space.choices["precision"]
    assert "no fp16 arithmetic" in (space.why_not(Recipe(turned={"precision": "fp16"})) or "")
    assert next(space.recipes()) == UNMODIFIED
    assert all(recipe in space for recipe in space.recipes())


def test_a_gpu_has_offload_and_no_openvino(machine: Machine) -> None:
    old = Accelerator(
        kind="cuda",
        index=0,
        name="GTX 1080",
        uuid_hash=None,
        total_bytes=8 * 2**30,
        free_bytes=None,
        compute_capability=(6, 1),
        driver="580",
        mig=False,
        unified_memory=False,
    )
    space = space_for(setting_of(machine.model_copy(update={"accelerators": (old,)}), device="cuda"))
    assert set(space.choices["offload"]) == set(OFFLOAD.choices)
    assert "openvino" not in space.choices["compile"]
    assert "has 6.1" in space.refused["precision", "bf16"]


def test_a_transformer_has_no_token_merging(machine: Machine) -> None:
    space = space_for(setting_of(machine, unet=False))
    assert space.choices["tome_ratio"] == (0.0,)
    assert "has no UNet" in (space.why_not(Recipe(turned={"tome_ratio": 0.5})) or "")
    assert "regional" in space.choices["compile"]
    assert "it is not known which blocks" in _refused(machine, "compile", "regional", "NoSuchModel")


def test_a_unet_is_refused_the_backends_that_it_would_not_ask(machine: Machine) -> None:
    gpu = Accelerator(kind="cuda", index=0, name="A100", total_bytes=80 * 2**30, compute_capability=(8, 0))
    software = machine.software.model_copy(update={"versions": {"flash_attn": "2.8.3", "xformers": "0.0.35"}})
    with_gpu = machine.model_copy(update={"accelerators": (gpu,), "software": software})
    for unet, open_choices in ((True, ("default", "eager", "xformers")), (False, ("default",))):
        space = space_for(setting_of(with_gpu, unet=unet, device="cuda"))
        assert space.choices["attention"] == open_choices
        assert "would change nothing" in space.refused["attention", "flash"]


def _refused(machine: Machine, knob: str, choice: str, class_name: str) -> str:
    """Return why a choice is refused for a denoiser of some class."""
    setting = setting_of(machine, unet=False)
    denoiser = setting.card.denoiser.model_copy(update={"class_name": class_name})
    other = replace(setting, card=setting.card.model_copy(update={"components": (denoiser,)}))
    return space_for(other).refused[knob, choice]


def test_what_is_not_guided_has_no_guidance_to_cut_off(machine: Machine) -> None:
    setting = setting_of(machine)
    card = setting.card.model_copy(update={"pipeline_class": "StableDiffusionPipeline"})
    guided = setting.workload.model_copy(update={"guidance": 5.0})
    cutoff = Recipe(turned={"guidance_cutoff": 0.5})
    assert "a guidance of 1 has no" in (space_for(setting).why_not(cutoff) or "")
    assert "P lets no callback" in (space_for(replace(setting, workload=guided)).why_not(cutoff) or "")
    assert cutoff in space_for(replace(setting, workload=guided, card=card))


def test_what_is_not_installed_is_refused_with_what_to_install(machine: Machine) -> None:
    bare = machine.software.model_copy(
        update={"versions": {"torch": "2.13.0"}, "cxx_compiler": "", "allocators": {}, "huge_pages": ""}
    )
    space = space_for(setting_of(machine.model_copy(update={"software": bare})))
    # how many threads there are to choose from is the machine's own
    assert {knob for recipe in space.recipes() for knob in recipe.turned} - {"threads"} == {
        "precision",
        "memory_format",
        "fuse_qkv",
        "attention",
    }
    assert "pip install 'autotune-diffusers[cpu]'" in space.refused["compile", "openvino"]
    assert "g++" in space.refused["compile", "full"]
    assert "apt install libjemalloc2" in space.refused["allocator", "jemalloc"]
    assert "nobody" in space.refused["huge_pages", True]


def test_unknown_knobs_and_choices_are_no_recipes() -> None:
    assert EVERYTHING.why_not(Recipe(turned={"turbo": True})) == "There is no knob turbo."
    assert "no such choice" in (EVERYTHING.why_not(Recipe(turned={"precision": "fp64"})) or "")


def test_the_portfolio_breaks_no_rule_and_knows_its_sources() -> None:
    for turned, source in KNOWN_GOOD:
        assert EVERYTHING.why_not(Recipe(turned=dict(turned))) is None
        assert source
    assert len(portfolio(EVERYTHING, "cuda")) == len(KNOWN_GOOD) - 1, "all but that for cards without bf16"
    before_ampere = replace(EVERYTHING, choices={**EVERYTHING.choices, "precision": ("fp32", "fp16")})
    assert {recipe.turned["precision"] for recipe in portfolio(before_ampere, "cuda")[1:]} == {"fp16"}
    assert portfolio(EVERYTHING, "cpu")[-1].turned["compile"] in {"full", "regional"}


def test_what_is_promising_can_be_turned() -> None:
    assert all(choice in EVERYTHING.choices[name] for name, choice in PROMISING)
    plain, compiled = (choices_of(Recipe(turned={"compile": choice})) for choice in ("none", "full"))
    ranks = [promise(turn, plain) for turn in (("compile", "openvino"), ("precision", "bf16"), ("attention", "eager"))]
    assert ranks[0] > ranks[1] > ranks[2] == 0
    dynamic = ("quantization", "torchao_int8_dynamic")
    assert promise(dynamic, compiled) > 0 > promise(dynamic, plain)


def test_a_large_space_is_estimated_and_drawn_from() -> None:
    few = {name: choices for name, choices in EVERYTHING.choices.items() if name in {"precision", "compile"}}
    small = Space({knob.name: (knob.default,) for knob in KNOBS} | few | {"memory_format": ("channels_last",)}, {})
    assert small.size == len(list(small.recipes())) < small.combinations <= COUNTABLE
    assert COUNTABLE < EVERYTHING.size < EVERYTHING.combinations
    chance = random.Random(7)
    drawn = [EVERYTHING.draw(chance) for _ in range(4000)]
    assert all(recipe in EVERYTHING for recipe in drawn)
    assert len(set(drawn)) > 500
    assert {knob for recipe in drawn for knob in recipe.turned} == set(EVERYTHING.choices)


def test_of_a_recipe_from_elsewhere_what_is_open_here_is_left() -> None:
    space = Space({"compile": ("none",), "precision": ("fp32", "bf16"), "tome_ratio": (0.0, 0.25)}, {})
    theirs = Recipe(turned={"compile": "openvino", "precision": "bf16", "unheard_of": 3})
    assert as_open(theirs, space) == Recipe(turned={"precision": "bf16"})
    ours = Recipe(turned={"precision": "bf16", "tome_ratio": 0.25})
    assert as_open(ours, space) == ours
    assert as_open(Recipe(turned={"compile": "openvino"}), space) == UNMODIFIED
