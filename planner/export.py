"""The trials of a run as a table, which `autotune replay` can search and anybody can read."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from ..errors import NoPlanError
from ..search.assemble import choices_of
from ..search.knobs import KNOBS
from ..store.store import Store
from .catalogue import find_model

if TYPE_CHECKING:
    from ..search.measured import Trial
    from ..store.run import Run

MEASURES = (
    "latency_ms",
    "spread",
    "load_s",
    "cold_s",
    "cost_s",
    "peak_memory_bytes",
    "clip_score",
    "clip_bound",
    "ssim",
    "feasible",
)
SOURCES = ("detail", "source")


def trials_table(model: str) -> str:
    """Return the trials of a model's newest run as CSV. Raises ModelError, and NoPlanError where nothing was tried."""
    return table_of(newest_run(model))


def table_of(run: Run) -> str:
    """Return the trials of a run as CSV: a row a trial, the knobs that were turned in any of them first.

    latency_ms is `invalid:OUTCOME` where a trial did not run to its end.
    """
    turned = {knob for trial in run.trials for knob in trial.recipe.turned}
    knobs = [knob.name for knob in KNOBS if knob.name in turned]
    file = io.StringIO()
    writer = csv.DictWriter(file, [*knobs, *MEASURES, *SOURCES], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(trial, run, knobs) for trial in run.trials)
    return file.getvalue()


def newest_run(model: str) -> Run:
    """Return the newest run of a model in which anything was tried. Raises ModelError, and NoPlanError."""
    name = find_model(model).card.name
    with Store.read() as store:
        run = next((run for run in store.runs(name) if run.trials), None)
    if run is None:
        msg = f"Nothing was tried with {name} here yet: `autotune --model {model}` does."
        raise NoPlanError(msg)
    return run


def _row(trial: Trial, run: Run, knobs: list[str]) -> dict[str, object]:
    choices = choices_of(trial.recipe)
    measured = {**trial_measures(trial, run.scope.tolerance), "detail": trial.detail, "source": f"run {run.id}"}
    return {**{knob: choices[knob] for knob in knobs}, **measured}


def trial_measures(trial: Trial, tolerance: float) -> dict[str, str]:
    """Return what a trial measured as the cells of `MEASURES`; what was not measured is empty."""
    quality, latency = trial.quality, trial.latency
    return {
        "latency_ms": f"{latency.median_ms:.2f}" if latency and trial.outcome == "ok" else f"invalid:{trial.outcome}",
        "spread": f"{latency.spread:.4f}" if latency else "",
        "load_s": f"{trial.load_s:.2f}" if trial.load_s is not None else "",
        "cold_s": f"{trial.cold_s:.2f}" if trial.cold_s is not None else "",
        "cost_s": f"{trial.duration_s:.2f}",
        "peak_memory_bytes": str(trial.peak_memory_bytes or ""),
        "clip_score": f"{quality.mean:.3f}" if quality else "",
        "clip_bound": f"{quality.bound:.3f}" if quality else "",
        "ssim": f"{quality.ssim:.4f}" if quality and quality.ssim is not None else "",
        "feasible": str(trial.feasible(tolerance)),
    }
