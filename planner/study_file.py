"""The trials of a run as a study of Optuna, in a file that its tools open: `optuna-dashboard sqlite:///FILE`."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from ..errors import UsageError
from ..search.assemble import choices_of
from ..search.knobs import KNOBS
from .export import newest_run, trial_measures

if TYPE_CHECKING:
    import optuna

    from ..search.measured import Trial
    from ..store.run import Run

Direction = Literal["minimize", "maximize"]
OBJECTIVES: dict[str, Direction] = {"latency_ms": "minimize", "clip_score": "maximize"}


def write_study(model: str, file: Path) -> str:
    """Write the trials of a model's newest run as a study, in the place of what `file` was, and return its name.

    What it minimizes is the latency; where quality was measured, it maximizes the CLIP score too. Trials that were
    given up because they could not win are pruned, and those without an image failed; the constraint is by how much
    quality misses what was asked. All else that was measured are attributes.

    Raises ModelError, NoPlanError where nothing was tried, and UsageError where the file cannot be written.
    """
    run = newest_run(model)
    name = f"{run.scope.model} {run.started_at[:16]} {run.id}"
    try:
        with TemporaryDirectory(dir=file.parent) as folder:
            unfinished = Path(folder) / "study.db"
            _write(unfinished, name, run)
            unfinished.replace(file)
    except OSError as error:
        msg = f"{file} cannot be written: {error.strerror}."
        raise UsageError(msg) from error
    return name


def _write(file: Path, name: str, run: Run) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    has_quality = any(trial.quality for trial in run.trials)
    names = [*OBJECTIVES][: 1 + has_quality]
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    try:
        study = optuna.create_study(storage=storage, study_name=name, directions=[OBJECTIVES[each] for each in names])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(names)
        study.set_user_attr("command", f"autotune --model {run.scope.model}")
        study.set_user_attr("workload", str(run.scope.workload))
        study.set_user_attr("ended because", run.reason)
        spaces = _distributions(run)
        study.add_trials([_trial(trial, run.scope.tolerance, spaces, has_quality=has_quality) for trial in run.trials])
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _distributions(run: Run) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return the choices of each knob that was turned: what it offers, and what was tried of it."""
    from optuna.distributions import CategoricalDistribution

    tried = [choices_of(trial.recipe) for trial in run.trials]
    turned = {knob for trial in run.trials for knob in trial.recipe.turned}
    return {
        knob.name: CategoricalDistribution(tuple(dict.fromkeys([*knob.choices, *(each[knob.name] for each in tried)])))
        for knob in KNOBS
        if knob.name in turned
    }


def _trial(
    trial: Trial,
    tolerance: float,
    spaces: dict[str, optuna.distributions.BaseDistribution],
    *,
    has_quality: bool,
) -> optuna.trial.FrozenTrial:
    from optuna.trial import TrialState, create_trial

    quality, latency = trial.quality, trial.latency
    values = [latency.median_ms] if latency and trial.outcome == "ok" else []
    values += [quality.mean] if quality and values else []
    is_whole = len(values) == 1 + has_quality
    given_up = TrialState.PRUNED if trial.outcome in {"ok", "slow"} else TrialState.FAIL
    choices = choices_of(trial.recipe)
    measured = {name: said for name, said in trial_measures(trial, tolerance).items() if said}
    frozen = create_trial(
        state=TrialState.COMPLETE if is_whole else given_up,
        values=values if is_whole else None,
        params={knob: choices[knob] for knob in spaces},
        distributions=spaces,
        user_attrs={"recipe": trial.recipe.key, "outcome": trial.outcome, "detail": trial.detail, **measured},
        constraints={"quality": quality.shortfall(tolerance)} if quality else None,
    )
    if trial.started_at:
        frozen.datetime_start = datetime.fromisoformat(trial.started_at).astimezone().replace(tzinfo=None)
        frozen.datetime_complete = frozen.datetime_start + timedelta(seconds=trial.duration_s)
    return frozen
