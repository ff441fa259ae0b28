"""A tuning as the store keeps it, made up: forty trials with a front, failures, a plan and images."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from autotune.search.measured import Latency, Quality, Trial
from autotune.search.plan import Gain, Plan, Scope
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.store.album import Picture, digest_of, keep_album
from autotune.store.run import Run, new_id
from autotune.store.store import Store
from autotune.tests.daemon.family import MACHINE, MIB
from autotune.tests.store import samples

if TYPE_CHECKING:
    from autotune.probes.machine import Machine
    from autotune.search.recipe import Choice

BEST = Recipe(turned={"compile": "openvino", "precision": "bf16", "guidance_cutoff": 0.5})
SMALL = Recipe(turned={"precision": "bf16", "quantization": "torchao_int8_weight_only"})
BROKEN = "RuntimeError: could not create a primitive descriptor for a <b>matmul</b> primitive"
PROMPTS = ("a large red circle on a blue background", "two green squares beside a small yellow star")

SCOPE = samples.SCOPE.model_copy(
    update={
        "machine": MACHINE.fingerprint,
        "software": MACHINE.software.key,
        "pipeline_class": "StableDiffusionPipeline",
    }
)
KNOBS: tuple[tuple[str, tuple[Choice, ...]], ...] = (
    ("precision", ("bf16", "fp16")),
    ("compile", ("regional", "openvino", "full")),
    ("tome_ratio", (0.25, 0.5)),
    ("guidance_cutoff", (0.5, 0.75)),
    ("feature_cache", ("deepcache_2", "deepcache_3")),
    ("quantization", ("torchao_int8_weight_only", "nncf_int8")),
)


GAINS = (
    Gain(knob="compile", choice="openvino", slowdown_without=2.31),
    Gain(knob="guidance_cutoff", choice="0.5", slowdown_without=1.42),
    Gain(knob="precision", choice="bf16", slowdown_without=0.99),
)


def trials(count: int = 40, seed: int = 7) -> list[Trial]:
    """Return trials: the baseline first, the plan's recipes among them, a sixth of the rest failures."""
    draw = random.Random(seed)
    recipes = {UNMODIFIED: None, BEST: None, SMALL: None}
    while len(recipes) < count:
        turned = {name: draw.choice(choices) for name, choices in draw.sample(KNOBS, draw.randint(1, 4))}
        recipes.setdefault(Recipe(turned=turned | {"threads": draw.randint(1, 64)} if count > 200 else turned))
    return [_trial(place, recipe, draw) for place, recipe in enumerate(recipes)]


def _trial(number: int, recipe: Recipe, draw: random.Random) -> Trial:
    if recipe not in {UNMODIFIED, BEST, SMALL} and draw.random() < 1 / 6:
        outcome, detail = draw.choice(
            [("crashed", BROKEN), ("out_of_memory", "The trial took 9.12 GiB; 8.00 GiB were free for it.")]
        )
        return Trial(
            number=number,
            recipe=recipe,
            outcome=outcome,  # type: ignore[arg-type]  # drawn from a list of two
            detail=detail,
            started_at="2026-11-27T09:30:00+00:00",
            duration_s=2.0,
        )
    ms = {UNMODIFIED: 1830.0, BEST: 402.0, SMALL: 1210.0}.get(recipe, draw.uniform(480, 2300))
    peak = {UNMODIFIED: 610, BEST: 520, SMALL: 290}.get(recipe, round(draw.uniform(330, 900)))
    loss = {UNMODIFIED: 0.0, BEST: 0.12, SMALL: 0.05}.get(recipe, draw.uniform(-0.05, 1.1))
    return Trial(
        number=number,
        recipe=recipe,
        outcome="ok",
        latency=Latency(samples_ms=(ms * 0.99, ms, ms * 1.02)),
        load_s=0.4,
        cold_s=2.1,
        peak_memory_bytes=peak * MIB,
        quality=Quality(
            scorer=SCOPE.scorer,
            scores=(30.5 - loss, 31.25 - loss),
            baseline_scores=(30.5, 31.25),
            bound=-loss - 0.04,
            likeness=() if recipe == UNMODIFIED else (0.94, 0.96),
        ),
        started_at="2026-11-27T09:30:00+00:00",
        duration_s=6.5,
    )


def plan_of(trial: Trial, baseline: Trial, run: str, scope: Scope, gains: tuple[Gain, ...] = ()) -> Plan:
    """Return the plan of a trial of `trials`."""
    assert trial.latency is not None
    assert baseline.latency is not None
    speedup = baseline.median_ms / trial.median_ms
    return Plan(
        scope=scope,
        recipe=trial.recipe,
        latency=trial.latency,
        baseline_latency=baseline.latency,
        speedup=speedup,
        speedup_low=0.97 * speedup,
        speedup_high=1.04 * speedup,
        raced=bool(gains),
        load_s=0.4,
        cold_s=2.1,
        peak_memory_bytes=trial.peak_memory_bytes or 0,
        baseline_peak_memory_bytes=baseline.peak_memory_bytes or 0,
        quality=trial.quality,
        gains=gains,
        run=run,
        created_at="2026-11-27T09:40:00+00:00",
    )


def run(count: int = 40, scope: Scope = SCOPE, name: str = "") -> tuple[Run, tuple[Plan, Plan]]:
    """Return a finished tuning as the store would, and its plans."""
    tried, name = trials(count), name or new_id()
    started = "2026-11-27T09:30:00+00:00"
    plans = (plan_of(tried[1], tried[0], name, scope, GAINS), plan_of(tried[2], tried[0], name, scope))
    return Run(id=name, scope=scope, state="finished", started_at=started, trials=tuple(tried)), plans


def keep(count: int = 40, machine: Machine = MACHINE, *, finished: bool = True, **scope: str) -> str:
    """Keep a tuning with its images, and return the name of its run."""
    own = SCOPE.model_copy(update={"machine": machine.fingerprint, "software": machine.software.key, **scope})
    with Store.open() as store:
        begun = store.begin_run(own, machine, fresh=True)
        made, plans = run(count, own, begun.id)
        for trial in made.trials:
            store.keep_trial(begun.id, trial)
        if finished:
            store.finish_run(begun.id, "the budget was used", plans, finished=True)
    keep_album(begun.id, [_picture(recipe, index) for recipe in (UNMODIFIED, BEST, SMALL) for index in (0, 1)])
    return begun.id


def _picture(recipe: Recipe, index: int) -> tuple[Picture, bytes]:
    image = Image.new("RGB", (128, 128), (36, 62, 150))
    left = 30 + 3 * len(recipe.turned)
    ImageDraw.Draw(image).ellipse((left, 24, left + 66, 92), fill=(214, 52 + 30 * index, 48))
    file = io.BytesIO()
    image.save(file, "PNG")
    content = file.getvalue()
    picture = Picture(
        recipe=recipe.key, index=index, prompt=PROMPTS[index], seed=1000 + index, digest=digest_of(content)
    )
    return picture, content
