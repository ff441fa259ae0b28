"""MagCache: the blocks are skipped while the size of what they add is known to change little.

How it changes from step to step is a property of the checkpoint, the scheduler and the number of steps, so it is
measured: one call of the unmodified pipeline, whose ratios are an artifact. diffusers brings those of FLUX.1-dev, but
cannot tell whether that is the checkpoint.

Source: Ma et al. 2025, arXiv:2506.09045; diffusers 0.42, `hooks/mag_cache.py`
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...probes.classes import parameters
from ...probes.whole import write_whole
from ...value import key_of
from ..pipeline import call_pipeline, load_pipeline
from .precision import PRECISION

if TYPE_CHECKING:
    from collections.abc import Callable

    from .knob import Bench, Choices, Setting

THRESHOLDS = {"magcache_0.06": (0.06, 3), "magcache_0.12": (0.12, 4)}
"""The error that may add up, and how many steps may be skipped in a row: diffusers' defaults, and the authors' faster
setting for Wan 2.1."""

SOURCE = "arXiv:2506.09045"


def refuses(setting: Setting) -> str | None:
    """Steps are counted by each denoiser from the first, and ratios are read after each."""
    if "callback_on_step_end" not in parameters(setting.card.pipeline_class):
        return f"{setting.card.pipeline_class} has no callback, and MagCache is calibrated after each step"
    if setting.card.has("transformer_2"):
        return "MagCache counts the steps of one denoiser, and this pipeline has two that take turns"
    return None


def config(choice: str) -> Callable[[Any, Choices, Bench], Any]:
    """Return what makes the configuration of a choice, calibrating where nobody has yet."""

    def calibrated(pipe: Any, choices: Choices, bench: Bench) -> Any:
        del pipe
        from diffusers import MagCacheConfig

        build(choices, bench)
        ratios = json.loads(_file(bench).read_text(encoding="utf-8"))
        threshold, in_a_row = THRESHOLDS[choice]
        return MagCacheConfig(
            threshold=threshold, max_skip_steps=in_a_row, num_inference_steps=len(ratios), mag_ratios=ratios
        )

    return calibrated


def build(choices: Choices, bench: Bench) -> None:
    """Measure the ratios if they are not there yet: one call of the pipeline with nothing but the precision turned."""
    file = _file(bench)
    if file.exists():
        return
    ratios = _measured(_plain_pipeline(choices, bench), bench)
    write_whole(file, json.dumps(ratios))


def _file(bench: Bench) -> Path:
    return bench.artifacts / "magcache" / f"{key_of([bench.card.revision, bench.software, bench.workload.key])}.json"


def _plain_pipeline(choices: Choices, bench: Bench) -> Any:
    loading = PRECISION.loads(choices, bench) if choices["precision"] != PRECISION.default else {}
    pipe = load_pipeline(bench.card, **loading)
    if choices["offload"] != "none":
        pipe.enable_model_cpu_offload(device=bench.device)
    elif bench.device != "cpu":
        pipe.to(bench.device)
    return pipe


def _measured(pipe: Any, bench: Bench) -> list[float]:
    """Return the ratio of each step to the one before it: of the guided half, where halves are computed apart."""
    from diffusers import MagCacheConfig

    # one step more than there are, or the hook would print the ratios and forget them at the last one
    pipe.transformer.enable_cache(MagCacheConfig(calibrate=True, num_inference_steps=bench.workload.steps + 1000))
    ratios: list[float] = []

    def note(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        ratios[:] = next(_calibrations(pipe.transformer))
        return tensors

    call_pipeline(pipe, bench.workload, bench.calibration_prompts[0], 0, callback_on_step_end=note)
    return ratios


def _calibrations(denoiser: Any) -> Any:
    """Yield what the hook of the first block has written down, the conditional calls first."""
    from diffusers.hooks.mag_cache import _MAG_CACHE_LEADER_BLOCK_HOOK

    for module in denoiser.modules():
        registry = getattr(module, "_diffusers_hook", None)
        hook = registry.get_hook(_MAG_CACHE_LEADER_BLOCK_HOOK) if registry else None
        if hook:
            states = hook.state_manager._state_cache  # noqa: SLF001 - it is printed nowhere else before it is reset
            yield from (states[name].calibration_ratios for name in sorted(states))
