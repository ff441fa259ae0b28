"""How many times as fast, in which share of the memory: whole images of a pipeline of SD 1.5's size on this CPU.

    python benchmarks/cpu_sd15.py [--steps 20] [--without-inductor] [--tune MINUTES]

Each recipe runs as a trial does, in a process of its own: text encoder, denoising under guidance 7.5, decoding. The
weights are random (`sd15.py`), so the images say nothing; what the same recipes cost in quality is measured on `shapes`
and printed beside. The baseline is measured again at the end, in the process that has waited, and ratios are to the
mean of both, so that a drift of the machine is seen. Every row is in the table as soon as it is measured, and the same
command goes on from there. What is asked for: 6 times at no more than 0.25 of the baseline's weights without cached
features, and 10 times with them.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sd15

from autotune.planner.choose import said_bytes
from autotune.planner.request import Request, task_of
from autotune.planner.tune import SPARE_BYTES, tune
from autotune.probes.machine import probe
from autotune.search import evaluate
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.space import space_for
from autotune.search.trial.failure import TrialFailure
from autotune.store.places import cache_dir

if TYPE_CHECKING:
    from autotune.search.measured import Trial
    from autotune.search.task import Task
    from autotune.search.trial.process import TrialProcess

TABLE = Path(__file__).parent / "results" / "cpu_sd15.csv"
LIMIT_S = 7200  # for one build, one load and one image: a shared machine is slow, not broken

OPENVINO: dict[str, Choice] = {"compile": "openvino", "precision": "bf16"}
INT8: dict[str, Choice] = {
    **OPENVINO,
    "quantization": "nncf_int8",
    "vae_quantization": "nncf_int8",
    "text_encoder_quantization": "nncf_int8_weights",
}
MERGED: dict[str, Choice] = {**INT8, "tome_ratio": 0.4}
UNGUIDED: dict[str, Choice] = {**MERGED, "guidance_cutoff": 0.5}
BASELINE = "torch fp32"
LADDER: tuple[tuple[str, dict[str, Choice]], ...] = (
    (BASELINE, {}),
    ("torch bf16", {"precision": "bf16"}),
    ("inductor bf16", {"precision": "bf16", "compile": "full"}),
    ("OpenVINO fp32", {"compile": "openvino"}),
    ("OpenVINO int8", INT8),
    ("and ToMe 0.4", MERGED),
    ("and half of the steps unguided", UNGUIDED),
    ("and DeepCache 3", {**UNGUIDED, "feature_cache": "deepcache_3"}),
    ("and DeepCache 5", {**UNGUIDED, "feature_cache": "deepcache_5"}),
    ("int8, half unguided, without ToMe", {**INT8, "guidance_cutoff": 0.5}),
)
AGAIN = "torch fp32, again"
TUNED = "what the tuner found"
ONE_IMAGE = ("torch bf16", "inductor bf16", "OpenVINO fp32")  # the slow ones, of which one is enough to know them
SCOPE = ("machine", "software", "model", "steps")
MEASURED = ("image_s", "times", "weights_bytes", "weights_share", "peak_memory_bytes", "load_s", "cold_s", "samples_s")
JUDGED = ("clip_difference", "clip_bound", "ssim", "shapes_ms")
COLUMNS = (*SCOPE, "step", "recipe", "outcome", *MEASURED, *JUDGED)


def main() -> None:
    """Measure what is not measured yet, and print both tables."""
    options = _options()
    home = (options.home or cache_dir() / "cpu_sd15").absolute()
    os.environ["AUTOTUNE_HOME"] = str(home)
    evaluate.BUILD_LIMIT_S = evaluate.LOAD_LIMIT_S = LIMIT_S
    folder = sd15.written(home / "models" / ("tiny" if options.tiny else "sd15"), tiny=options.tiny)
    request = Request(model=str(folder), steps=options.steps)
    task, _ = task_of(request, probe())
    table = Table(options.table, _scope(task), fresh=options.fresh)
    ladder = [Step(name, Recipe(turned=dict(turned))) for name, turned in LADDER]
    if options.without_inductor:
        ladder = [step for step in ladder if step.recipe.turned.get("compile") != "full"]
    if options.only:
        ladder = [step for step in ladder if step.name in options.only]
    climb(task, ladder, table, options.calls)
    if options.tune:
        found = tune(Request(model=str(folder), steps=options.steps, budget_s=60 * options.tune)).plan
        ladder += [Step(TUNED, found.recipe)] if found else []
        climb(task, ladder, table, options.calls)
    if not options.without_quality:
        judge(ladder, table)
    table.show()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="denoising steps of an image")
    parser.add_argument("--calls", type=int, default=2, help="timed images of each fast recipe; slow ones have one")
    parser.add_argument("--without-inductor", action="store_true", help="leave out what compiles for minutes")
    parser.add_argument("--without-quality", action="store_true", help="leave out `shapes`")
    parser.add_argument("--only", action="append", metavar="STEP", help="this step of the ladder; can be repeated")
    parser.add_argument("--tune", type=float, metavar="MINUTES", help="let the tuner find a recipe, and measure it too")
    parser.add_argument("--fresh", action="store_true", help="measure again what the table has")
    parser.add_argument("--tiny", action="store_true", help="a pipeline of a few channels: to try the way")
    parser.add_argument("--table", type=Path, default=TABLE, help="where the rows are kept")
    parser.add_argument("--home", type=Path, help="where the model (4.3 GB) and its graphs (10 GB) are kept")
    return parser.parse_args()


def _scope(task: Task) -> dict[str, str]:
    """Return for what a row holds: another machine, other versions, another model or number of steps have their own."""
    machine, software = task.machine.fingerprint, task.machine.software.key
    return dict(zip(SCOPE, (machine, software, task.card.revision, str(task.workload.steps)), strict=True))


class Step(NamedTuple):
    """A recipe, and what it is called in the tables."""

    name: str
    recipe: Recipe


@dataclass
class Table:
    """The rows on disk, of which those of one scope are added to."""

    file: Path
    scope: dict[str, str]
    fresh: bool
    rows: list[dict[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        """Read what is there; of this scope nothing, if all is to be measured again."""
        self.rows = []
        if self.file.exists():
            with self.file.open(newline="", encoding="utf-8") as file:
                self.rows = list(csv.DictReader(file))
        if self.fresh:
            self.rows = [row for row in self.rows if not self._mine(row)]

    def _mine(self, row: dict[str, str]) -> bool:
        return all(row[name] == value for name, value in self.scope.items())

    @property
    def mine(self) -> list[dict[str, str]]:
        """The rows of this scope."""
        return [row for row in self.rows if self._mine(row)]

    def row(self, step: str) -> dict[str, str]:
        """Return the row of a step, empty where it is not measured."""
        return next((row for row in self.mine if row["step"] == step), {})

    def note(self, step: str, **cells: Any) -> None:
        """Put cells into the row of a step, and the whole table on disk."""
        row = self.row(step)
        if not row:
            row = dict.fromkeys(COLUMNS, "") | self.scope | {"step": step}
            self.rows.append(row)
        row |= {name: f"{cell:.6g}" if isinstance(cell, float) else str(cell) for name, cell in cells.items()}
        self._compare()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".draft")
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        draft.replace(self.file)

    def _compare(self) -> None:
        """Put beside each row what it is to the baseline: to the mean of its measurements, and to its weights."""
        baselines = [row for row in (self.row(BASELINE), self.row(AGAIN)) if row.get("image_s")]
        if not baselines:
            return
        baseline_s = statistics.fmean(float(row["image_s"]) for row in baselines)
        for row in self.mine:
            if row["image_s"]:
                row["times"] = f"{baseline_s / float(row['image_s']):.3f}"
                row["weights_share"] = f"{int(row['weights_bytes']) / int(baselines[0]['weights_bytes']):.4f}"

    def show(self) -> None:
        """Print both tables."""
        _print("step", "an image", "times", "weights", "of fp32", "peak")
        for row in self.mine:
            if row["outcome"] != "ok":
                _print(row["step"], row["outcome"])
                continue
            sizes = [said_bytes(int(row[name])) for name in ("weights_bytes", "peak_memory_bytes")]
            cells = [f"{float(row['image_s']):.1f} s", row["times"], sizes[0], row["weights_share"], sizes[1]]
            _print(row["step"], *cells)
        judged = [row for row in self.mine if row["shapes_ms"]]
        if judged:
            _print("\non `shapes`", "an image", "CLIP", "bound", "SSIM")
        for row in judged:
            cells = [f"{float(row[name]):+.2f}" if row[name] else "" for name in JUDGED[:2]]
            _print(row["step"], f"{float(row['shapes_ms']):.0f} ms", *cells, row["ssim"][:5])


def climb(task: Task, ladder: list[Step], table: Table, calls: int) -> None:
    """Measure each step that is not in the table, and the baseline before and after.

    All graphs are made first: while they are, nothing else of the size of the model is in memory.
    """
    space = space_for(task.setting)
    for step in ladder:
        if reason := space.why_not(step.recipe):
            table.note(step.name, recipe=step.recipe, outcome=f"refused: {reason}")
    missing = [step for step in ladder if not table.row(step.name).get("outcome")]
    if not missing:
        return
    with IsolatedEvaluator(task, task.modules, task.machine.memory.free_bytes - SPARE_BYTES) as evaluator:
        climber = Climber(evaluator, table)
        for step in missing:
            climber.build(step)
        facts: dict[str, Any] = {}
        with evaluator.opened(UNMODIFIED, _deadline(), facts) as baseline:
            if not table.row(BASELINE).get("outcome"):
                climber.time(baseline, Step(BASELINE, UNMODIFIED), 1, facts)
            for step in missing:
                if step.recipe != UNMODIFIED:
                    climber.measure(step, 1 if step.name in ONE_IMAGE else calls)
            climber.time(baseline, Step(AGAIN, UNMODIFIED), 1, facts)


@dataclass(frozen=True)
class Climber:
    """Takes one step after the other, and notes in the table how it went."""

    evaluator: IsolatedEvaluator
    table: Table

    def build(self, step: Step) -> None:
        """Make the graphs of a recipe; where that fails, measuring it will say so."""
        started = time.monotonic()
        try:
            self.evaluator.built(step.recipe, _deadline())
        except TrialFailure as failure:
            _print(step.name, f"not built: {failure.detail[:200]}")
        else:
            _print(step.name, f"built in {time.monotonic() - started:.0f} s")

    def measure(self, step: Step, calls: int) -> None:
        """Open a pipeline and time it; a failure is a row too."""
        facts: dict[str, Any] = {}
        try:
            with self.evaluator.opened(step.recipe, _deadline(), facts) as process:
                self.time(process, step, calls, facts)
        except TrialFailure as failure:
            self.table.note(step.name, recipe=step.recipe, outcome=f"{failure.outcome}: {failure.detail[:200]}")
            _print(step.name, failure.outcome)

    def time(self, process: TrialProcess, step: Step, calls: int, facts: dict[str, Any]) -> None:
        """Make images in an open process, and note what they took."""
        ran = self.evaluator.run(process, step.recipe, range(calls), _deadline(), facts)
        samples_s = [ms / 1000 for ms in ran.samples_ms]
        cells = {name: facts[name] for name in ("weights_bytes", "peak_memory_bytes", "load_s", "cold_s")}
        cells |= {"image_s": statistics.median(samples_s), "samples_s": " ".join(f"{each:.3f}" for each in samples_s)}
        self.table.note(step.name, recipe=step.recipe, outcome="ok", **cells)
        _print(step.name, f"{statistics.median(samples_s):.1f} s", self.table.row(step.name)["times"])


def judge(ladder: list[Step], table: Table) -> None:
    """Note what each recipe costs in quality, on the model whose images mean something."""
    if all(table.row(step.name).get("shapes_ms") for step in ladder):
        return
    task, _ = task_of(Request(model="shapes"), probe())
    space = space_for(task.setting)
    with IsolatedEvaluator(task, task.modules, task.machine.memory.free_bytes - SPARE_BYTES) as evaluator:
        evaluator.evaluate(0, UNMODIFIED, math.inf, _deadline())  # whose images the others are compared with
        for number, step in enumerate(ladder, start=1):
            if step.recipe in space and not table.row(step.name).get("shapes_ms"):
                trial = evaluator.evaluate(number, step.recipe, math.inf, _deadline())
                if trial.outcome == "ok":
                    table.note(step.name, recipe=step.recipe, **_quality(trial))


def _quality(trial: Trial) -> dict[str, Any]:
    quality = trial.quality
    if quality is None:
        return {"shapes_ms": trial.median_ms}
    return {
        "shapes_ms": trial.median_ms,
        "clip_difference": quality.mean - quality.baseline_mean,
        "clip_bound": quality.bound,
        "ssim": 1.0 if quality.ssim is None else quality.ssim,  # the baseline's own images
    }


def _deadline() -> float:
    return time.monotonic() + LIMIT_S


def _print(name: str, *cells: str) -> None:
    sys.stdout.write(f"{name:<34}" + "".join(f"{cell:>12}" for cell in cells) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
