"""DBCache: the first block tells whether the others have to run; with or without their results being extrapolated.

It is the library's own, which brings adapters for transformers that have none of diffusers' caches.

Source: https://github.com/vipshop/cache-dit (Apache-2.0), and the table of FLUX.1-dev measurements in its `bench/`
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..pipeline import has_halves

if TYPE_CHECKING:
    from .knob import Bench, Setting

ADAPTERS = "caching/block_adapters/adapters.py"


@dataclass(frozen=True)
class DualBlockCache:
    """When to skip: below which change of the first block's residual, and how many steps in a row at most (-1: any)."""

    threshold: float
    in_a_row: int
    extrapolated: bool = False


DUAL_BLOCK_CACHES = {
    "cache_dit_0.08": DualBlockCache(0.08, -1),  # FLUX.1-dev, 50 steps, L20: 1.84 times as fast, PSNR 34
    "cache_dit_0.24": DualBlockCache(0.24, 4),  # 2.52 times
    "cache_dit_taylor_0.24": DualBlockCache(0.24, 6, extrapolated=True),  # 2.75 times
}
"""Rows of the library's table, by choice."""

FIRST_BLOCKS, WARM_UP_STEPS = 1, 4  # F1B0_W4 in the table


def refuses(setting: Setting) -> str | None:
    """Each class of pipeline needs an adapter of the library."""
    lacking = setting.lacks("cache_dit", "cache")
    if lacking:
        return lacking
    if not setting.card.pipeline_class.startswith(_adapted()):
        return f"cache_dit has no adapter for a {setting.card.pipeline_class}"
    return None


@cache
def _adapted() -> tuple[str, ...]:
    """Return what the names of the pipelines that it has adapters for begin with, without importing it."""
    spec = find_spec("cache_dit")
    if spec is None or spec.origin is None:
        return ()
    text = (Path(spec.origin).parent / ADAPTERS).read_text(encoding="utf-8")
    return tuple(re.findall(r'@BlockAdapterRegister\.register\("(\w+)"\)', text))


def apply(pipe: Any, choice: str, bench: Bench) -> None:
    """Let the pipeline's transformer skip its blocks."""
    enable(pipe, *configured(choice, bench))


def configured(choice: str, bench: Bench) -> tuple[Any, Any]:
    """Return when blocks are skipped, and what extrapolates their results, None where nothing does."""
    from cache_dit import DBCacheConfig, TaylorSeerCalibratorConfig

    wanted = DUAL_BLOCK_CACHES[choice]
    cache = DBCacheConfig(
        Fn_compute_blocks=FIRST_BLOCKS,
        Bn_compute_blocks=0,
        max_warmup_steps=WARM_UP_STEPS,
        max_continuous_cached_steps=wanted.in_a_row,
        residual_diff_threshold=wanted.threshold,
        # the library knows which pipelines take two calls a step for guidance, and not whether there is any: it
        # would take every second step for the other half
        enable_separate_cfg=None if has_halves(bench.workload, bench.card.pipeline_class) else False,
    )
    return cache, TaylorSeerCalibratorConfig(taylorseer_order=1) if wanted.extrapolated else None


def enable(pipe: Any, cache_config: Any, calibrator_config: Any) -> None:
    """Let a pipeline's transformer skip its blocks.

    The library replaces `__call__` of the pipeline's class. The pipeline gets a class of its own for that, or every
    other pipeline of its class in this process would be told of this one's blocks.
    """
    from cache_dit import enable_cache

    own = type(pipe)
    pipe.__class__ = type(own.__name__, (own,), {"__module__": own.__module__})
    enable_cache(pipe, cache_config=cache_config, calibrator_config=calibrator_config)
