"""Tunings that never were: a task, and what came of it, for the tests of what is said about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.planner.tune import Prepared, Result
from autotune.probes.model import Component, ModelCard
from autotune.search.knobs import KNOBS
from autotune.search.measured import Latency, Outcome, Quality, Trial
from autotune.search.plan import Gain, Plan
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.space import Space
from autotune.search.task import Task
from autotune.store.run import Run

from ..store.samples import MACHINE, WORKLOAD

MIB = 2**20
TOLERANCE = 0.01
BF16 = Recipe(turned={"precision": "bf16"})
TOME = Recipe(turned={"tome_ratio": 0.5})
BRACKETS = Recipe(turned={"compile": "[/red] [bold]x :smile: \\["})
UNET = Component(
    name="unet", library="diffusers", class_name="UNet2DConditionModel", parameters=2_300_000, bytes=9_200_000
)
CARD = ModelCard(
    name="shapes",
    folder="/models/shapes",
    revision="0123",
    pipeline_class="StableDiffusionPipeline",
    components=(UNET,),
    native_pixels=128,
)
OPEN: dict[str, tuple[Choice, ...]] = {"precision": ("fp32", "bf16"), "tome_ratio": (0.0, 0.5)}
SPACE = Space(
    {knob.name: OPEN.get(knob.name, (knob.default,)) for knob in KNOBS},
    {("offload", "model"): "there is nothing [to] offload from"},
)


def task_of(**changes: Any) -> Task:
    usual: dict[str, Any] = {
        "card": CARD,
        "machine": MACHINE,
        "device": "cpu",
        "workload": WORKLOAD,
        "prompts": ("a", "b", "c", "d"),
        "calibration_prompts": ('a "red" circle', "b"),
        "scorer": None,
        "scorer_id": "",
        "tolerance": TOLERANCE,
        "artifacts": Path("/artifacts"),
    }
    return Task(**{**usual, **changes})


def quality_of(bound: float) -> Quality:
    return Quality(
        scorer="s", scores=(30.0, 30.2), baseline_scores=(30.0, 30.0), bound=bound, likeness=(0.9, 1.0) if bound else ()
    )


def trial_of(number: int, recipe: Recipe, ms: float | None, outcome: Outcome = "ok", **changes: Any) -> Trial:
    return Trial(
        number=number,
        recipe=recipe,
        outcome=outcome,
        latency=None if ms is None else Latency(samples_ms=(ms,)),
        started_at="2026-11-22T12:00:00+00:00",
        duration_s=3.0,
        **changes,
    )


BASELINE = trial_of(0, UNMODIFIED, 400.0, quality=quality_of(0.0))


def run_of(state: Any = "new", trials: tuple[Trial, ...] = ()) -> Run:
    return Run(id="run", scope=task_of().scope, state=state, started_at="2026-11-21T10:00:00+00:00", trials=trials)


def prepared(run: Run | None = None, task: Task | None = None) -> Prepared:
    return Prepared(task or task_of(), SPACE, run or run_of(), budget_s=240.0)


def plan_of(recipe: Recipe = BF16, **changes: Any) -> Plan:
    usual: dict[str, Any] = {
        "scope": task_of().scope,
        "recipe": recipe,
        "latency": Latency(samples_ms=(100.0, 102.0, 98.0)),
        "baseline_latency": Latency(samples_ms=(400.0, 404.0, 396.0)),
        "speedup": 4.0,
        "speedup_low": 3.9,
        "speedup_high": 4.1,
        "raced": True,
        "load_s": 1.5,
        "cold_s": 0.5,
        "peak_memory_bytes": 300 * MIB,
        "baseline_peak_memory_bytes": 600 * MIB,
        "quality": quality_of(-0.1),
        "gains": (Gain(knob="precision", choice="bf16", slowdown_without=2.5),),
        "run": "run",
        "created_at": "2026-11-22T12:30:00+00:00",
    }
    return Plan(**{**usual, **changes})


def result_of(*plans: Plan, trials: tuple[Trial, ...] = (BASELINE,), **changes: Any) -> Result:
    usual: dict[str, Any] = {"task": task_of(), "run": run_of(), "reason": "the budget was used"}
    return Result(trials=trials, plans=plans, **{**usual, **changes})
