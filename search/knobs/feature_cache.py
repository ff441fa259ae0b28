"""Feature cache: what changes little from one denoising step to the next is not computed at each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import deepcache
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice

FEWEST_STEPS = 10


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Each kind is for one kind of denoiser, and there must be neighbouring steps that are alike."""
    del choice
    if setting.card.denoiser.class_name != "UNet2DConditionModel":
        return f"DeepCache is for a UNet2DConditionModel, and the denoiser is a {setting.card.denoiser.class_name}"
    if setting.workload.steps < FEWEST_STEPS:
        return f"with {setting.workload.steps} steps, neighbouring ones differ too much to share features"
    return None


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Let the denoiser use what it computed some steps ago."""
    deepcache.apply(getattr(pipe, bench.card.denoiser.name), str(choices["feature_cache"]))


FEATURE_CACHE = Knob(
    name="feature_cache",
    says="the deep features of the denoiser, computed every so many steps and used again between",
    choices=("none", *deepcache.INTERVALS),
    default="none",
    lossy=frozenset(deepcache.INTERVALS),
    source="arXiv:2312.00858",
    refuses=refuses,
    apply=apply,
)
