"""The trials of a run as a study that Optuna itself loads."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import optuna
import pytest
from optuna.trial import TrialState

from autotune.errors import UsageError
from autotune.planner.cli.recorded import TrialsForm, export_trials
from autotune.planner.study_file import write_study
from autotune.store.store import Store
from autotune.tests.daemon.family import MACHINE
from autotune.tests.pages import tuned

if TYPE_CHECKING:
    from pathlib import Path


def loaded(file: Path) -> optuna.Study:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{file}")


def test_optuna_loads_what_was_tried(tmp_path: Path) -> None:
    tuned.keep()
    name = write_study("shapes", tmp_path / "study.db")
    study = loaded(tmp_path / "study.db")
    assert study.study_name == name
    assert study.metric_names == ["latency_ms", "clip_score"]
    with Store.read() as store:
        tried = store.runs("shapes")[0].trials
    assert len(study.trials) == len(tried) == 40
    for found, trial in zip(study.trials, tried, strict=True):
        assert found.user_attrs["recipe"] == trial.recipe.key
        assert found.user_attrs["outcome"] == trial.outcome
        turned = {knob: choice for knob, choice in found.params.items() if knob in trial.recipe.turned}
        assert turned == trial.recipe.turned
        if trial.outcome == "ok":
            assert trial.quality
            assert found.values == [trial.median_ms, trial.quality.mean]
            assert (max(found.constraints.values()) <= 0) == trial.feasible(0.01)
        else:
            assert (found.state, found.user_attrs["detail"]) == (TrialState.FAIL, trial.detail)
        assert found.duration
        assert found.duration.total_seconds() == trial.duration_s


def test_its_best_trials_are_those_that_nothing_beats(tmp_path: Path) -> None:
    tuned.keep()
    write_study("shapes", tmp_path / "study.db")
    best = {trial.user_attrs["recipe"] for trial in loaded(tmp_path / "study.db").best_trials}
    assert tuned.BEST.key in best


def test_what_was_too_slow_for_images_is_pruned_and_without_quality_latency_alone_counts(tmp_path: Path) -> None:
    baseline, best, *_ = tuned.trials()
    slow = tuned.trials()[3].model_copy(update={"outcome": "slow", "quality": None})
    for trials, metrics in (((baseline, best, slow), 2), ((baseline.model_copy(update={"quality": None}), slow), 1)):
        with Store.open() as store:
            run = store.begin_run(tuned.SCOPE, MACHINE, fresh=True)
            for trial in trials:
                store.keep_trial(run.id, trial)
        write_study("shapes", tmp_path / "study.db")
        study = loaded(tmp_path / "study.db")
        assert len(study.directions) == metrics
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * (len(trials) - 1) + [
            TrialState.PRUNED
        ]


def test_the_command_says_how_to_look_at_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned.keep(5)
    file = tmp_path / "study.db"
    file.write_text("what was here before")
    export_trials("shapes", file, TrialsForm.optuna)
    assert f"optuna-dashboard sqlite:///{file}" in capsys.readouterr().out
    assert len(loaded(file).trials) == 5
    assert stat.S_ISREG(file.stat().st_mode)
    assert [*tmp_path.glob("tmp*")] == []
    with pytest.raises(UsageError, match="say in which file"):
        export_trials("shapes", None, TrialsForm.optuna)
    with pytest.raises(UsageError, match="cannot be written"):
        export_trials("shapes", tmp_path / "nowhere" / "study.db", TrialsForm.optuna)
