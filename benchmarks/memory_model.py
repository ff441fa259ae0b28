"""How well peaks of memory are predicted: what `planner/predict.py` says, beside what processes really took.

    python benchmarks/memory_model.py measure [--models sd,flux] [--minutes M]    # goes on where it stopped
    python benchmarks/memory_model.py compare                                     # reads what was measured

Five pipelines of middling size, each with recipes of every way of running and calls of several sizes, on the CPU. Each
row is a process of its own that loads and makes one call; each point is the median of its rows, of which `measure`
takes one round of all points after the other, since which holes of the heap a process keeps is chance. `compare`
predicts every pipeline with what the others' trials have taught, as a new model on a known machine is, and prints how
far off that is.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from middling import PIPELINES, written

from autotune.planner.predict import Lessons, Shape, lessons_of, need_of
from autotune.planner.request import Request, task_of
from autotune.planner.shape import shape_of
from autotune.probes.machine import probe
from autotune.probes.model import read_model
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.measured import Trial
from autotune.search.recipe import Choice, Recipe
from autotune.search.space import space_for
from autotune.search.trial.failure import TrialFailure
from autotune.search.workload import Workload
from autotune.store.places import cache_dir

RESULTS = Path(__file__).parent / "results" / "memory_cpu.csv"
POINT = ("model", "width", "height", "batch", "frames", "recipe")
FIELDS = (*POINT, "round", "load_bytes", "peak_bytes")
ROUNDS = 3
SIZES = ((128, 1), (256, 1), (256, 2), (384, 1))
VIDEO_SIZES = ((192, 1), (256, 1), (256, 2), (320, 1))
RECIPES: tuple[dict[str, Choice], ...] = (
    {},
    {"quantization": "torchao_int8_weight_only"},
    {"quantization": "bnb_nf4", "text_encoder_quantization": "bnb_nf4"},
    {"quantization": "gguf_q8_0"},
    {"quantization": "fp8_storage"},
    {"text_encoder_quantization": "torchao_int8_weight_only"},
    {"vae_tiling": "tiling"},
    {"feature_cache": "first_block_0.08"},
    {"tome_ratio": 0.5},
    {"memory_format": "channels_last"},
    {"compile": "openvino"},
    {"compile": "openvino", "quantization": "nncf_int8_weights"},
    {"precision": "bf16"},
    {"compile": "regional"},
)
SLOW_ONES = ("precision", "compile=regional")
"""What takes minutes a call on a CPU without its instructions, or to compile: at the smallest size alone."""


WORKLOAD = {
    name: Workload(width=256, height=256, steps=2, guidance=7.5, frames=9 if name == "wan" else 1) for name in PIPELINES
}


def main() -> None:
    """Measure or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "compare"))
    parser.add_argument("--models", default=",".join(PIPELINES), help="which pipelines, with commas between")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this; the same command goes on")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="the file of points")
    options = parser.parse_args()
    if options.what == "measure":
        deadline = time.monotonic() + 60 * options.minutes
        for turn in range(ROUNDS):
            for name in options.models.split(","):
                _measure(name, turn, options.output, deadline)
    _compare(_rows(options.output))


def _folder(name: str) -> Path:
    return written(name, cache_dir() / "benchmarks" / f"middling-{name}")


def _measure(name: str, turn: int, file: Path, deadline: float) -> None:
    """Add the rows of a pipeline that this round has not in the file yet."""
    folder = _folder(name)
    known = {_key(row) for row in _rows(file)}
    sizes = VIDEO_SIZES if name == "wan" else SIZES
    for width, batch in sizes:
        task, _ = task_of(Request(str(folder), width=width, height=width, steps=2, batch=batch), probe())
        if name == "wan":
            task = replace(task, workload=task.workload.model_copy(update={"frames": WORKLOAD[name].frames}))
        space = space_for(task.setting)
        recipes = [Recipe(turned=turned) for turned in RECIPES]
        with IsolatedEvaluator(task, task.modules) as evaluator:
            for recipe in recipes:
                row = {"model": name, "width": width, "height": width, "batch": batch, "frames": task.workload.frames}
                row |= {"recipe": json.dumps(recipe.turned), "round": turn}
                slow = any(sign in str(recipe) for sign in SLOW_ONES) and width != sizes[0][0]
                if slow or recipe not in space or _key(row) in known or time.monotonic() > deadline:
                    continue
                _add(file, row | _taken(evaluator, recipe))
                print(f"round {turn + 1}: {row['model']}", task.workload, recipe, flush=True)


def _taken(evaluator: IsolatedEvaluator, recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe took, loaded and called once in a process of its own."""
    facts: dict[str, Any] = {}
    try:
        with evaluator.opened(recipe, time.monotonic() + 1200, facts):
            pass
    except TrialFailure as failure:
        print(f"{recipe}: {failure.outcome}: {failure.detail[:200]}", flush=True)
    return {"load_bytes": facts.get("load_peak_bytes", ""), "peak_bytes": facts.get("peak_memory_bytes", "")}


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[field]) for field in (*POINT, "round"))


def _add(file: Path, row: dict[str, Any]) -> None:
    new = not file.exists()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _compare(rows: Sequence[dict[str, str]]) -> None:
    """Print how far predictions are from what was measured, and processes of one point from each other."""
    measured, scatter = _points(rows)
    shapes = {name: shape_of(read_model(_folder(name)), WORKLOAD[name]) for name in {row["model"] for row in measured}}
    trials = [(row["model"], _trial(row, shapes[row["model"]])) for row in measured]
    if not trials:
        print("Nothing was measured yet.")
        return
    errors: dict[str, list[float]] = {}
    for name in dict.fromkeys(name for name, _ in trials):
        lessons = lessons_of(trial for other, trial in trials if other != name)
        for trial in (each for other, each in trials if other == name):
            errors.setdefault(name, []).append(_error(trial, lessons))
    print(f"{'model':10} {'points':>6} {'median':>8} {'95 %':>8} {'too low':>8} {'too high':>9}")
    everything = [each for found in errors.values() for each in found]
    for name, found in [*errors.items(), ("all", everything)]:
        print(f"{name:10} {len(found):6} {_said(found)}")
    if scatter:
        print(f"Processes of one point differ by {statistics.median(scatter):.1%}, at most by {max(scatter):.1%}.")


def _points(rows: Sequence[dict[str, str]]) -> tuple[list[dict[str, str]], list[float]]:
    """Return a row for each point, with the median of its peaks, and by how much those of a point differ."""
    found: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        if row["peak_bytes"]:
            found.setdefault(tuple(row[field] for field in POINT), []).append(row)
    peaks = {point: [int(row["peak_bytes"]) for row in same] for point, same in found.items()}
    middle = [same[0] | {"peak_bytes": str(round(statistics.median(peaks[point])))} for point, same in found.items()]
    return middle, [max(each) / min(each) - 1 for each in peaks.values() if len(each) > 1]


def _trial(row: dict[str, str], shape: Shape) -> Trial:
    """Return a point as a trial, with the peak that is predicted for it without lessons."""
    recipe = Recipe(turned=json.loads(row["recipe"]))
    sizes = {name: int(row[name]) for name in ("width", "height", "batch", "frames")}
    workload = WORKLOAD[row["model"]].model_copy(update=sizes)
    return Trial(
        number=0,
        recipe=recipe,
        outcome="ok",
        peak_memory_bytes=int(row["peak_bytes"]),
        load_peak_bytes=int(row["load_bytes"]),
        predicted_bytes=need_of(recipe, shape, workload, "cpu").peak_bytes,
        started_at="",
        duration_s=0,
    )


def _error(trial: Trial, lessons: Lessons) -> float:
    """Return by how much a prediction is too high, as a share of what was measured; below 0 it is too low."""
    return lessons.taught(trial.recipe, trial.predicted_bytes or 0) / (trial.peak_memory_bytes or 1) - 1


def _said(errors: list[float]) -> str:
    sizes = sorted(map(abs, errors))
    most = sizes[min(len(sizes) - 1, math.ceil(0.95 * len(sizes)) - 1)]
    low, high = min(0.0, *errors), max(0.0, *errors)
    return f"{statistics.median(sizes):8.1%} {most:8.1%} {-low:8.1%} {high:9.1%}"


if __name__ == "__main__":
    main()
