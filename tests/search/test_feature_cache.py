"""Caches of transformers, each on small pipelines: they skip work, forget it after a call, and are refused in words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autotune.errors import UnfitError
from autotune.search.assemble import assemble, build, choices_of
from autotune.search.knobs import cache_dit, feature_cache, hook_caches, magcache
from autotune.search.pipeline import call_arguments
from autotune.search.recipe import Recipe
from autotune.search.verify import architectures

from .small import Counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from .small import Small

# torch, diffusers and transformers warn of each other's ways, which the processes of trials do not turn into errors
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def cached(choice: str) -> Recipe:
    return Recipe(turned={"feature_cache": choice})


SKIPPED = {
    "flux": ["first_block_0.08", "pab_246", "fastercache", "magcache_0.06", "taylorseer_5", "cache_dit_0.24"],
    "wan": ["first_block_0.2", "taylorseer_5", "taylorseer_lite_5", "seacache_0.25", "cache_dit_taylor_0.24"],
    "ltx": ["first_block_0.2", "pab_246", "magcache_0.12", "taylorseer_5", "cache_dit_0.24"],
    **{name: ["cache_dit_0.24"] for name in ("sd3", "pixart", "sana")},
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "choice"), [(name, choice) for name in SKIPPED for choice in SKIPPED[name]])
def test_a_cache_skips_work_and_starts_anew_with_each_call(
    name: str, choice: str, small: Callable[[str], Small], monkeypatch: pytest.MonkeyPatch
) -> None:
    each = small(name)
    if choice.startswith("cache_dit"):
        pytest.importorskip("cache_dit")
    assert feature_cache.refuses(choice, each.setting) is None
    _whatever_the_threshold(choice, monkeypatch)
    plain = assemble(Recipe(), each.bench)
    counted = Counted(plain.transformer, monkeypatch).during()
    unmodified = each.image(pipe=plain)
    all_of_it = next(counted)
    pipe = assemble(cached(choice), each.bench)
    next(counted)
    images = [each.image(pipe=pipe)]
    some_of_it = next(counted)
    images.append(each.image(pipe=pipe))
    assert next(counted) == some_of_it < 0.95 * all_of_it
    assert np.array_equal(images[0], images[1])
    assert np.isfinite(images[0]).all()
    assert np.abs(images[0] - unmodified).max() > 0
    assert np.array_equal(each.image(), unmodified), "it changed other pipelines of its class"


def _whatever_the_threshold(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights change more from step to step than trained ones: let every change pass for a small one."""
    if choice.startswith("first_block"):
        monkeypatch.setitem(hook_caches.HOOK_CACHES, choice, hook_caches._first_block(9.0))
    if choice.startswith("cache_dit"):
        own = cache_dit.DUAL_BLOCK_CACHES[choice]
        monkeypatch.setitem(cache_dit.DUAL_BLOCK_CACHES, choice, replace(own, threshold=9.0))


def test_without_guidance_every_step_is_cached_alike(
    small: Callable[[str], Small], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cache_dit")
    _whatever_the_threshold("cache_dit_0.24", monkeypatch)
    each = small("wan").with_workload(guidance=1.0)
    plain = assemble(Recipe(), each.bench)
    counted = Counted(plain.transformer, monkeypatch).during()
    pipe = assemble(cached("cache_dit_0.24"), each.bench)
    next(counted)
    each.image(pipe=pipe)
    attention_and_block = 3  # two kinds of attention in a block
    warm_up, skipped_at_most = cache_dit.WARM_UP_STEPS, 4
    whole = warm_up + 1 + (12 - warm_up - 1) // (skipped_at_most + 1)
    assert next(counted) <= attention_and_block * (3 * (whole + 1) + 1 * (12 - whole))
    assert feature_cache.refuses("pab_246", each.setting) is None
    assert not np.array_equal(each.image(cached("pab_246")), each.image())


def test_magcache_is_calibrated_once_for_a_model_and_a_workload(small: Callable[[str], Small]) -> None:
    each = small("flux").with_workload(steps=11)
    build(cached("magcache_0.06"), each.bench)
    file = magcache._file(each.bench)
    ratios = json.loads(file.read_text())
    assert len(ratios) == 11
    assert ratios[0] == 1.0
    assert all(0.2 < ratio < 5 for ratio in ratios)
    before = file.stat()
    pipe = assemble(cached("magcache_0.12"), each.bench)
    assert file.stat() == before
    assert pipe.transformer._cache_config.num_inference_steps == 11
    assert magcache._file(each.with_workload(steps=12).bench) != file
    assert not list(file.parent.glob(".draft-*"))


def test_what_would_be_skipped_nowhere_is_an_error(
    small: Callable[[str], Small], monkeypatch: pytest.MonkeyPatch
) -> None:
    each = small("flux")
    monkeypatch.setattr(hook_caches, "ATTENTION_NAMES", ["no_such_module"])
    with pytest.raises(UnfitError, match="found nothing to skip in a FluxTransformer2DModel"):
        assemble(cached("taylorseer_5"), each.bench)


def test_fastercache_guesses_the_unconditional_half_of_a_batch_of_video(small: Callable[[str], Small]) -> None:
    pipe = _cogvideox()
    bench = small("ltx").bench
    card = bench.card.model_copy(update={"pipeline_class": "CogVideoXPipeline"})
    hook_caches.apply(pipe, choices_of(cached("fastercache")), replace(bench, card=card))
    rows: list[int] = []
    pipe.transformer.patch_embed.register_forward_pre_hook(lambda _, args: rows.append(len(args[1])))
    arguments = call_arguments(bench.workload, "CogVideoXPipeline")
    videos = [
        pipe("a circle", generator=_seeded(), output_type="np", max_sequence_length=16, **arguments).frames
        for _ in range(2)
    ]
    assert rows[:12] == rows[12:]
    assert 2 <= rows[:12].count(1) < 12
    assert np.array_equal(videos[0], videos[1])


def _seeded() -> Any:
    import torch

    return torch.Generator().manual_seed(0)


def _cogvideox() -> Any:
    import diffusers

    denoiser = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=32,
        in_channels=4,
        out_channels=4,
        time_embed_dim=16,
        text_embed_dim=64,
        num_layers=2,
        sample_width=16,
        sample_height=16,
        sample_frames=5,
        max_text_seq_length=16,
    )
    vae = diffusers.AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2
    )
    pipe = diffusers.CogVideoXPipeline(
        tokenizer=architectures.t5_tokenizer(),
        text_encoder=architectures._t5().eval(),
        vae=vae.eval(),
        transformer=denoiser.eval(),
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_text_keys_and_values_are_computed_once_a_prompt_and_exactly(small: Callable[[str], Small]) -> None:
    import torch
    from diffusers import NucleusMoEImageTransformer2DModel

    denoiser = NucleusMoEImageTransformer2DModel(
        patch_size=1,
        in_channels=8,
        num_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=64,
        axes_dims_rope=(8, 12, 12),
        moe_enabled=False,
    ).eval()
    prompts, latents = [[torch.randn(1, n, size) for _ in range(2)] for n, size in ((6, 64), (16, 8))]
    projected: list[str] = []
    for block in denoiser.transformer_blocks:
        block.attn.add_k_proj.register_forward_hook(lambda *_: projected.append("text"))

    def outputs() -> list[Any]:
        projected.clear()
        with torch.no_grad():
            return [
                denoiser(step, [(1, 4, 4)], encoder_hidden_states=prompt, timestep=torch.tensor([0.5]))[0]
                for step in latents
                for prompt in prompts
            ]

    wanted = outputs()
    assert len(projected) == 2 * 2 * 2
    bench = small("flux").bench
    denoiser.enable_cache(hook_caches.HOOK_CACHES["text_kv"].config(None, choices_of(cached("text_kv")), bench))
    assert all(torch.equal(one, other) for one, other in zip(outputs(), wanted, strict=True))
    assert len(projected) == 2 * 2


REFUSED = [
    ("sd", "first_block_0.08", {}, "takes none of diffusers' caches"),
    ("sd3", "taylorseer_5", {}, "SD3Transformer2DModel takes none"),
    ("sana", "magcache_0.06", {}, "SanaTransformer2DModel takes none"),
    ("pixart", "deepcache_2", {}, "DeepCache is for a UNet2DConditionModel"),
    ("wan", "pab_246", {}, "in two calls"),
    ("wan", "fastercache", {}, "in two calls"),
    ("flux", "seacache_0.25", {}, "does not tell the cache its sigma"),
    ("ltx", "seacache_0.25", {}, "does not tell the cache its sigma"),
    ("wan", "text_kv", {}, "only NucleusMoEImageTransformer2DModel"),
    ("flux", "first_block_0.08", {"steps": 4}, "with 4 steps"),
    ("sdxl", "cache_dit_0.24", {}, "no adapter for a StableDiffusionXLPipeline"),
]


@pytest.mark.parametrize(("name", "choice", "workload", "reason"), REFUSED)
def test_a_cache_that_would_do_nothing_or_harm_is_refused(
    name: str, choice: str, workload: dict[str, Any], reason: str, small: Callable[[str], Small]
) -> None:
    if choice.startswith("cache_dit"):
        pytest.importorskip("cache_dit")
    assert reason in (feature_cache.refuses(choice, small(name).with_workload(**workload).setting) or "")


@pytest.mark.parametrize(
    ("pipeline", "denoiser", "choice", "reason"),
    [
        ("FluxKontextPipeline", "FluxTransformer2DModel", "first_block_0.2", "no cache_context"),
        ("Flux2KleinPipeline", "Flux2Transformer2DModel", "first_block_0.2", "of different kinds"),
        ("LTX2Pipeline", "LTX2VideoTransformer3DModel", "magcache_0.06", "how to skip a LTX2VideoTransformerBlock"),
        ("QwenImagePipeline", "QwenImageTransformer2DModel", "pab_246", None),
        ("CogView4Pipeline", "CogView4Transformer2DModel", "pab_246", "in two calls"),
        ("CogVideoXPipeline", "CogVideoXTransformer3DModel", "fastercache", None),
        ("NucleusMoEImagePipeline", "NucleusMoEImageTransformer2DModel", "text_kv", None),
    ],
)
def test_classes_are_judged_by_their_source(
    pipeline: str, denoiser: str, choice: str, reason: str | None, small: Callable[[str], Small]
) -> None:
    setting = small("flux").setting
    transformer = setting.card.denoiser.model_copy(update={"class_name": denoiser})
    card = setting.card.model_copy(update={"pipeline_class": pipeline, "components": (transformer,)})
    found = feature_cache.refuses(choice, replace(setting, card=card))
    assert found is None if reason is None else reason in (found or "")


def test_a_missing_library_is_said(small: Callable[[str], Small]) -> None:
    setting = small("flux").setting
    software = setting.machine.software.model_copy(update={"versions": {}})
    bare = replace(setting, machine=setting.machine.model_copy(update={"software": software}))
    assert "pip install 'autotune-diffusers[cache]'" in (feature_cache.refuses("cache_dit_0.08", bare) or "")


def test_every_choice_has_a_source() -> None:
    assert all(cache.source for cache in hook_caches.HOOK_CACHES.values())
    assert choices_of(cached("text_kv"))["feature_cache"] not in feature_cache.FEATURE_CACHE.lossy
