"""The caches that diffusers brings for transformers: hooks that skip blocks or attention where little has changed.

Each is a configuration for `denoiser.enable_cache`. Several do nothing at all, or the wrong thing, where a pipeline
lacks what they silently count on: that has been read from `diffusers/hooks` (0.42.1), and is asked of the classes
beforehand. A pipeline resets them at the end of each call (`maybe_free_model_hooks`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import UnfitError
from ...probes.classes import Abilities, abilities, says
from ..pipeline import has_halves
from . import magcache

if TYPE_CHECKING:
    from .knob import Bench, Choices, Setting

TOLD_SIGMA = ("WanPipeline", "Cosmos3OmniPipeline")
"""The pipelines that tell a cache how noisy a step is (`cache_context(..., sigma=)`)."""

BOTH_HALVES_5D = {
    "CogVideoXPipeline": "BFCHW",
    "CogVideoXImageToVideoPipeline": "BFCHW",
    "CogVideoXVideoToVideoPipeline": "BFCHW",
    "MochiPipeline": "BCFHW",
}
"""Pipelines whose denoiser gets both halves of guidance in a batch and gives video, and the order of its axes."""

ATTENTION_NAMES = [r"(blocks|transformer_blocks|single_transformer_blocks|temporal_transformer_blocks)\..*attn\d?"]
"""The attention of transformers. TaylorSeer's own patterns must match whole names, and miss `attn1` and `attn2`."""


@dataclass(frozen=True)
class HookCache:
    """One choice: `config` makes what `enable_cache` is given, `refuses` says why a setting cannot have it.

    told: whether the pipeline must say which half of guidance it computes, as nearly all need.
    """

    config: Callable[[Any, Choices, Bench], Any]
    refuses: Callable[[Setting], str | None]
    source: str
    exact: bool = False
    told: bool = True


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Hook the denoiser; where a pipeline has two, for the early and the late steps, both.

    Raises UnfitError where there was nothing to hook: diffusers would go on without a word.
    """
    choice = str(choices["feature_cache"])
    for denoiser in (pipe.transformer, getattr(pipe, "transformer_2", None)):
        if denoiser is not None:
            denoiser.enable_cache(HOOK_CACHES[choice].config(pipe, choices, bench))
            if not any(_hooks(module) for module in denoiser.modules() if module is not denoiser):
                raise UnfitError(f"{choice} found nothing to skip in a {type(denoiser).__name__}.")


def _hooks(module: Any) -> bool:
    registry = getattr(module, "_diffusers_hook", None)
    return bool(registry and registry.hooks)


def refuses(choice: str, setting: Setting) -> str | None:
    """Say no to what has no hooks, to pipelines that do not say what they compute, and to what the cache lacks."""
    cache, denoiser = HOOK_CACHES[choice], setting.card.denoiser.class_name
    if "CacheMixin" not in abilities(denoiser).bases:
        return f"{denoiser} takes none of diffusers' caches (no CacheMixin)"
    if cache.told and not _pipeline(setting).contexts:
        return f"{setting.card.pipeline_class} does not tell a cache where it is (no cache_context)"
    return cache.refuses(setting)


def _pipeline(setting: Setting) -> Abilities:
    return abilities(setting.card.pipeline_class)


def _halves_apart(setting: Setting) -> bool:
    """Return whether guidance takes two calls of the denoiser a step."""
    one_call = _pipeline(setting).contexts == {"cond_uncond"}
    return has_halves(setting.workload, setting.card.pipeline_class) and not one_call


def _skips_blocks(setting: Setting) -> str | None:
    """Blocks can be skipped where diffusers knows what goes through them."""
    blocks = abilities(setting.card.denoiser.class_name).repeated_blocks
    if blocks and not any(says("TransformerBlockRegistry", rf"model_class={block}\b") for block in blocks):
        return f"diffusers' caches do not know how to skip a {blocks[0]} (TransformerBlockRegistry)"
    return None


def _compares_first_blocks(setting: Setting) -> str | None:
    """The residual of the last block is taken from tensors of one kind, which Flux 2's blocks do not give."""
    if setting.card.denoiser.class_name == "Flux2Transformer2DModel":
        return "the first and the last block of Flux2Transformer2DModel give results of different kinds"
    return _skips_blocks(setting)


def _skips_known_sizes(setting: Setting) -> str | None:
    return magcache.refuses(setting) or _skips_blocks(setting)


def _skips_attention(setting: Setting) -> str | None:
    """One counter for all calls: with two calls a step, every second is given what the other half computed."""
    if "current_timestep" not in _pipeline(setting).methods:
        return f"{setting.card.pipeline_class} does not say its current_timestep"
    if _halves_apart(setting):
        return (
            f"{setting.card.pipeline_class} computes the halves of guidance in two calls,"
            " and the cache would hand the attention of one to the other"
        )
    return None


def _knows_sigma(setting: Setting) -> str | None:
    if setting.card.pipeline_class not in TOLD_SIGMA:
        return f"{setting.card.pipeline_class} does not tell the cache its sigma, without which it would skip nothing"
    return None


def _has_text_keys(setting: Setting) -> str | None:
    if setting.card.denoiser.class_name != "NucleusMoEImageTransformer2DModel":
        return "only NucleusMoEImageTransformer2DModel has the blocks that it looks for"
    return None


def _predicts(setting: Setting) -> str | None:
    """Nothing beyond a context: outputs are predicted by name of module, and counted for each half apart."""
    del setting
    return None


def _lite_predicts(setting: Setting) -> str | None:
    """Blocks give zeros and the last projection is predicted: there must be one of that name, of known shape."""
    if not says(setting.card.denoiser.class_name, r"self\.proj_out = nn\.Linear"):
        return f"{setting.card.denoiser.class_name} ends in no proj_out whose result could be predicted"
    return None


def _first_block(threshold: float) -> HookCache:
    def config(pipe: Any, choices: Choices, bench: Bench) -> Any:
        del pipe, choices, bench
        from diffusers import FirstBlockCacheConfig

        return FirstBlockCacheConfig(threshold=threshold)

    return HookCache(config, _compares_first_blocks, "https://github.com/chengzeyi/ParaAttention")


def _pyramid(pipe: Any, choices: Choices, bench: Bench) -> Any:
    del choices, bench
    from diffusers import PyramidAttentionBroadcastConfig

    return PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        temporal_attention_block_skip_range=4,
        cross_attention_block_skip_range=6,
        current_timestep_callback=lambda: pipe.current_timestep,
    )


def _faster(pipe: Any, choices: Choices, bench: Bench) -> Any:
    """Return FasterCache; the unconditional half is guessed only where it can be taken from a batch of video."""
    del choices
    from diffusers import FasterCacheConfig

    axes = BOTH_HALVES_5D.get(bench.card.pipeline_class)
    guided = axes is not None and has_halves(bench.workload, bench.card.pipeline_class)
    return FasterCacheConfig(
        current_timestep_callback=lambda: pipe.current_timestep,
        attention_weight_callback=lambda _: 0.3,
        tensor_format=axes or "BCFHW",
        is_guidance_distilled=not guided,
    )


def _taylorseer(*, lite: bool) -> HookCache:
    def config(pipe: Any, choices: Choices, bench: Bench) -> Any:
        del pipe, choices, bench
        import torch
        from diffusers import TaylorSeerCacheConfig

        return TaylorSeerCacheConfig(
            cache_interval=5,
            use_lite_mode=lite,
            cache_identifiers=None if lite else ATTENTION_NAMES,
            taylor_factors_dtype=torch.float32,
        )

    return HookCache(config, _lite_predicts if lite else _predicts, "arXiv:2503.06923")


def _sea(pipe: Any, choices: Choices, bench: Bench) -> Any:
    del pipe, choices, bench
    from diffusers import SeaCacheConfig

    return SeaCacheConfig(threshold=0.25)


def _text_kv(pipe: Any, choices: Choices, bench: Bench) -> Any:
    del pipe, choices, bench
    from diffusers import TextKVCacheConfig

    return TextKVCacheConfig()


HOOK_CACHES: dict[str, HookCache] = {
    # the change of the first block's residual below which the rest is skipped: ParaAttention's for Flux, diffusers' own
    "first_block_0.08": _first_block(0.08),
    "first_block_0.2": _first_block(0.2),
    # every second spatial, fourth temporal, sixth cross attention, as the paper's PAB246
    "pab_246": HookCache(_pyramid, _skips_attention, "arXiv:2408.12588"),
    "fastercache": HookCache(_faster, _skips_attention, "arXiv:2410.19355"),
    **{
        choice: HookCache(magcache.config(choice), _skips_known_sizes, magcache.SOURCE)
        for choice in magcache.THRESHOLDS
    },
    "taylorseer_5": _taylorseer(lite=False),
    "taylorseer_lite_5": _taylorseer(lite=True),
    "seacache_0.25": HookCache(_sea, _knows_sigma, "arXiv:2602.18993"),
    "text_kv": HookCache(_text_kv, _has_text_keys, "diffusers 0.42, hooks/text_kv_cache.py", exact=True, told=False),
}
"""By choice. Numbers are the published ones; where there are none, diffusers' defaults."""
