"""Why a recipe is tried or not: the reason with its source, and what was measured here."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from autotune.errors import UsageError
from autotune.planner.cli import tables
from autotune.planner.explain import explain, overview
from autotune.planner.request import Request, task_of
from autotune.probes.machine import probe
from autotune.search.measured import Latency, Quality, Trial
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.store.store import Store

SHAPES = Request(model="shapes")
BF16 = Recipe(turned={"precision": "bf16"})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path))


def kept(*trials: tuple[Recipe, float]) -> None:
    """Keep a run of `shapes` on this machine with these latencies in milliseconds; NaN is a trial that crashed."""
    task, _ = task_of(Request(model="shapes"), probe())
    with Store.open() as store:
        run = store.begin_run(task.scope, task.machine, fresh=True)
        for number, (recipe, ms) in enumerate(trials):
            trial = Trial(
                number=number,
                recipe=recipe,
                outcome="crashed" if math.isnan(ms) else "ok",
                detail="SIGSEGV" if math.isnan(ms) else "",
                latency=None if math.isnan(ms) else Latency(samples_ms=(ms,)),
                started_at="2026-01-02T03:04:05+00:00",
                duration_s=1.0,
            )
            store.keep_trial(run.id, trial)
        store.finish_run(run.id, "all was tried", (), finished=True)


def test_a_rule_says_why_and_how_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    found = explain(SHAPES, ["compile=openvino", "memory_format=channels_last"])
    assert "OpenVINO" in found.because
    assert "docs.openvino.ai" in found.source
    tables.print_explanation(found)
    assert capsys.readouterr().out.startswith("Never tried here. ")


def test_a_knob_says_why_and_how_it_is_known() -> None:
    found = explain(SHAPES, ["precision=fp16"] if not probe().accelerators else ["compile=openvino"])
    assert found.because
    assert found.source.startswith("https://")


def test_nothing_speaks_against_what_was_not_tried(capsys: pytest.CaptureFixture[str]) -> None:
    found = explain(SHAPES, ["tome_ratio=0.25"])
    assert (found.because, found.source, found.trial) == ("", "", None)
    tables.print_explanation(found)
    assert "has not been tried yet" in capsys.readouterr().out


def test_what_was_measured_last_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    kept((UNMODIFIED, 900.0), (BF16, 700.0))
    kept((UNMODIFIED, 1000.0), (BF16, 500.0))
    found = explain(SHAPES, ["precision=bf16"])
    assert found.trial
    assert found.baseline
    assert (found.trial.median_ms, found.baseline.median_ms) == (500.0, 1000.0)
    tables.print_explanation(found)
    assert capsys.readouterr().out.splitlines() == [
        "precision=bf16: tried here on 2026-01-02: ok.",
        "500 ms a call, 1.00 s unmodified.",
    ]


def test_a_model_that_was_not_tuned_has_only_what_is_ruled_out(capsys: pytest.CaptureFixture[str]) -> None:
    found = overview(SHAPES)
    assert (found.plan, found.reason, found.failed) == (None, "", ())
    assert {refused.knob for refused in found.refused} & {"offload", "compile"}
    tables.print_overview(found)
    said = capsys.readouterr().out
    assert said.startswith("shapes has not been tuned here")
    assert "never tried here: " in said


def test_the_newest_tuning_is_the_one_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    kept((UNMODIFIED, 900.0), (BF16, 700.0))
    kept((UNMODIFIED, 1000.0), (BF16, math.nan))
    found = overview(SHAPES)
    assert [(trial.recipe, trial.outcome) for trial in found.failed] == [(BF16, "crashed")]
    tables.print_overview(found)
    said = capsys.readouterr().out
    assert said.startswith("Nothing to gain here: all was tried.")
    assert "precision=bf16" in said
    assert "crashed: SIGSEGV" in said


def test_where_nothing_is_faster_that_is_said_with_what_came_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    kept((UNMODIFIED, 1000.0), (BF16, 1020.0), (Recipe(turned={"tome_ratio": 0.5}), 1500.0))
    found = overview(SHAPES)
    assert found.nothing_to_gain
    tables.print_overview(found)
    said = capsys.readouterr().out
    assert "Nothing to gain here: all was tried. The nearest was precision=bf16, 0.98 times as fast" in said
    assert re.search(r"tome_ratio=0.5 +0.67 times as fast +1 *\n", said)


def test_images_that_are_not_as_good_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    kept((UNMODIFIED, 1000.0), (BF16, 700.0))
    found = overview(SHAPES)
    worse = Quality(scorer="s", scores=(80.0, 81.0), baseline_scores=(90.0, 90.0), bound=-12.0)
    missed = found.nearest.model_copy(update={"quality": worse}) if found.nearest else None
    assert missed
    tables.print_overview(found.model_copy(update={"missed": (missed,)}))
    assert re.search(r"precision=bf16 +-9.50, surely not below -12.00 *\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ("compil=full", "There is no knob compil; a turn is written KNOB=CHOICE. Did you mean compile?"),
        ("compile=fast", "compile has no choice 'fast'; it has none, regional"),
        ("compile", "compile has no choice ''"),
        ("=", "There is no knob ; a turn is written"),
    ],
)
def test_what_cannot_be_meant_is_refused(turn: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        explain(SHAPES, [turn])
    assert said in str(refused.value)
