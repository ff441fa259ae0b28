"""The ladder of diffusion-fast, step by step, on whatever machine this is: `python benchmarks/ladder.py [MODEL]`.

Each step is a recipe with one thing more than the last: attention without SDPA, bf16, SDPA, inductor, fused
projections, dynamic int8; then what a CPU has instead. Each runs as a trial does, in a process of its own, and is
compared with the unmodified pipeline: latency, memory, CLIP score and likeness.

Source: https://github.com/huggingface/diffusion-fast
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time

from autotune.planner.choose import said_bytes
from autotune.planner.tune import SPARE_BYTES, Request, task_of
from autotune.probes.machine import probe
from autotune.search import evaluate
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.measured import Trial
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.space import space_for

LADDER: tuple[tuple[str, dict[str, Choice]], ...] = (
    ("as diffusers makes it", {}),
    ("without SDPA", {"attention": "eager"}),
    ("bf16, without SDPA", {"precision": "bf16", "attention": "eager"}),
    ("bf16", {"precision": "bf16"}),
    ("and channels last", {"precision": "bf16", "memory_format": "channels_last"}),
    ("and inductor", {"precision": "bf16", "memory_format": "channels_last", "compile": "full"}),
    ("and fused QKV", {"precision": "bf16", "memory_format": "channels_last", "compile": "full", "fuse_qkv": True}),
    (
        "dynamic int8 instead",
        {
            "precision": "bf16",
            "memory_format": "channels_last",
            "compile": "full",
            "quantization": "torchao_int8_dynamic",
        },
    ),
    ("OpenVINO", {"compile": "openvino"}),
    ("and bf16", {"compile": "openvino", "precision": "bf16"}),
    ("and int8", {"compile": "openvino", "precision": "bf16", "quantization": "nncf_int8"}),
    (
        "and half of the steps unguided",
        {"compile": "openvino", "precision": "bf16", "quantization": "nncf_int8", "guidance_cutoff": 0.5},
    ),
)


def main() -> None:
    """Climb, and print each step as it is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="shapes", help="a short name or a folder")
    parser.add_argument("--steps", type=int, help="denoising steps")
    options = parser.parse_args()
    evaluate.SLOW = math.inf  # a step down is a result too
    with tempfile.TemporaryDirectory() as home:
        os.environ["AUTOTUNE_HOME"] = home
        climb(Request(model=options.model, steps=options.steps))


def climb(request: Request) -> None:
    """Measure each step that this machine allows."""
    task, _ = task_of(request, probe())
    space, baseline, before_ms = space_for(task.setting), math.nan, math.nan
    _print("step", "latency", "gain", "in all", "memory", "CLIP", "SSIM")
    with IsolatedEvaluator(task, task.modules, task.machine.memory.free_bytes - SPARE_BYTES) as evaluator:
        for number, (name, turned) in enumerate(LADDER):
            recipe = Recipe(turned=dict(turned))
            reason = space.why_not(recipe)
            if reason:
                _print(name, "-", reason)
                continue
            trial = evaluator.evaluate(number, recipe, math.inf, time.monotonic() + 3600)
            if recipe == UNMODIFIED:
                baseline = trial.median_ms
            _print(name, *_figures(trial, baseline, before_ms))
            before_ms = trial.median_ms if trial.latency else before_ms


def _figures(trial: Trial, baseline_ms: float, before_ms: float) -> list[str]:
    if trial.latency is None or trial.outcome != "ok":
        return ["-", f"{trial.outcome}: {trial.detail[:80]}"]
    quality = trial.quality
    return [
        f"{trial.median_ms:.0f} ms",
        "" if math.isnan(before_ms) else f"{before_ms / trial.median_ms:.2f}",
        f"{baseline_ms / trial.median_ms:.2f}",
        said_bytes(trial.peak_memory_bytes or 0),
        f"{quality.mean - quality.baseline_mean:+.2f}" if quality else "",
        f"{quality.ssim:.3f}" if quality and quality.ssim is not None else "",
    ]


def _print(name: str, *cells: str) -> None:
    sys.stdout.write(f"{name:<32}" + "".join(f"{cell:>11}" for cell in cells) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
