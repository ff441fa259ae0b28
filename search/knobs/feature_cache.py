"""Feature cache: what changes little from one denoising step to the next is not computed at each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import cache_dit, deepcache, hook_caches, magcache
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice

FEWEST_STEPS = 10

EXACT = {choice for choice, cache in hook_caches.HOOK_CACHES.items() if cache.exact}
CHOICES = (*deepcache.INTERVALS, *hook_caches.HOOK_CACHES, *cache_dit.DUAL_BLOCK_CACHES)


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Each kind is for one kind of denoiser, and there must be neighbouring steps that are alike."""
    denoiser = setting.card.denoiser.class_name
    if choice in deepcache.INTERVALS and denoiser != "UNet2DConditionModel":
        return f"DeepCache is for a UNet2DConditionModel, and the denoiser is a {denoiser}"
    if choice not in EXACT and setting.workload.steps < FEWEST_STEPS:
        return f"with {setting.workload.steps} steps, neighbouring ones differ too much to share features"
    if choice in hook_caches.HOOK_CACHES:
        return hook_caches.refuses(str(choice), setting)
    return cache_dit.refuses(setting) if choice in cache_dit.DUAL_BLOCK_CACHES else None


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Let the denoiser use what it computed some steps ago."""
    choice = str(choices["feature_cache"])
    if choice in deepcache.INTERVALS:
        deepcache.apply(getattr(pipe, bench.card.denoiser.name), choice)
    elif choice in hook_caches.HOOK_CACHES:
        hook_caches.apply(pipe, choices, bench)
    else:
        cache_dit.apply(pipe, choice, bench)


def builds(choices: Choices, bench: Bench) -> None:
    """Calibrate what goes by a checkpoint's own numbers."""
    if choices["feature_cache"] in magcache.THRESHOLDS:
        magcache.build(choices, bench)


FEATURE_CACHE = Knob(
    name="feature_cache",
    says="features of the denoiser that change little are computed every so many steps, and used again between",
    choices=("none", *CHOICES),
    default="none",
    lossy=frozenset(CHOICES) - EXACT,
    uneven_steps=True,
    source="arXiv:2312.00858; https://huggingface.co/docs/diffusers/optimization/cache; cache-dit",
    refuses=refuses,
    apply=apply,
    builds=builds,
)
