"""A search over trials that really fail: each gets its outcome, and the search goes on."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from autotune.errors import TrialProcessError, UnfitError
from autotune.planner.request import Request, task_of
from autotune.probes.machine import Machine, probe
from autotune.search import evaluate as evaluation
from autotune.search.evaluate import CutOffError, IsolatedEvaluator
from autotune.search.measured import Trial
from autotune.search.pace import FIRST_CALLS, MOST_CALLS, MOST_WARM_UP
from autotune.search.race import LOOKS, race
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.study import study
from autotune.shapes import SCORER

from .conftest import MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autotune.search.task import Task

KILLED = Recipe(turned={"tome_ratio": 0.25})
HANGS = Recipe(turned={"tome_ratio": 0.5})
FILLS_MEMORY = Recipe(turned={"quantization": "bnb_int8"})
NAN = Recipe(turned={"quantization": "bnb_nf4"})
WORKS = Recipe(turned={"precision": "bf16"})
LIMIT_BYTES = 600 * 2**20


class Scripted:
    """A sampler that asks for what it was given."""

    def __init__(self, *recipes: Recipe) -> None:
        self.left = list(recipes)
        self.told: list[Trial] = []

    def ask(self) -> Recipe | None:
        return self.left.pop(0) if self.left else None

    def tell(self, trial: Trial) -> None:
        self.told.append(trial)


@pytest.fixture
def evaluator(task: Task) -> Iterator[IsolatedEvaluator]:
    with IsolatedEvaluator(task, MODULES, LIMIT_BYTES) as running:
        yield running


@pytest.mark.slow
@pytest.mark.usefixtures("unhurried")
def test_the_search_goes_on_whatever_trials_do(evaluator: IsolatedEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "LOAD_LIMIT_S", 8)
    sampler = Scripted(KILLED, HANGS, FILLS_MEMORY, NAN, WORKS)
    happened = list(study(evaluator, sampler, (), 0.01, time.monotonic() + 120, 100))

    trials = [event for event in happened if isinstance(event, Trial)]
    assert [trial.recipe for trial in trials] == [UNMODIFIED, KILLED, HANGS, FILLS_MEMORY, NAN, WORKS]
    assert [trial.outcome for trial in trials] == ["ok", "crashed", "timeout", "out_of_memory", "bad_image", "ok"]
    assert sampler.told == trials
    assert "SIGKILL" in trials[1].detail
    assert "8 s" in trials[2].detail
    assert "GiB" in trials[3].detail
    assert "NaN" in trials[4].detail
    assert trials[5].latency
    assert FIRST_CALLS <= len(trials[5].latency.samples_ms) <= MOST_CALLS + MOST_WARM_UP
    assert min(trials[5].latency.steps_ms) > 0
    assert trials[5].load
    assert trials[5].quality is None  # there is no scorer for random weights
    assert [event for event in happened if isinstance(event, Recipe)] == [trial.recipe for trial in trials]


def test_a_deadline_in_a_trial_says_nothing_about_it(evaluator: IsolatedEvaluator) -> None:
    started = time.monotonic()
    assert [*study(evaluator, Scripted(), (), 0.01, started - 1, 100)] == []
    evaluator.template.fork().__exit__()  # the template's own start is not what is timed
    started = time.monotonic()
    with pytest.raises(CutOffError):
        evaluator.evaluate(1, HANGS, math.inf, started + 2)
    assert time.monotonic() - started < 8


@pytest.mark.slow
def test_a_pipeline_that_gives_no_image_cannot_be_tuned(tiny_nan: Path, machine: Machine, tmp_path: Path) -> None:
    found, _ = task_of(Request(model=str(tiny_nan), steps=1), machine)
    task = replace(found, artifacts=tmp_path)
    with IsolatedEvaluator(task, MODULES) as evaluator, pytest.raises(UnfitError, match=r"unmodified.*NaN"):
        list(study(evaluator, Scripted(WORKS), (), 0.01, time.monotonic() + 60, 100))


@pytest.mark.slow
def test_a_scorer_that_is_none_is_not_blamed_on_the_recipe(task: Task, tmp_path: Path) -> None:
    (tmp_path / "scorer").mkdir()
    broken = replace(task, scorer=tmp_path / "scorer", scorer_id="broken")
    with IsolatedEvaluator(broken, MODULES) as evaluator, pytest.raises(TrialProcessError, match="could not judge"):
        evaluator.evaluate(0, UNMODIFIED, math.inf, time.monotonic() + 60)


@pytest.mark.slow
def test_a_scorer_that_is_killed_is_replaced(task: Task) -> None:
    judged = replace(task, scorer=SCORER, scorer_id="shapes")
    with IsolatedEvaluator(judged, MODULES) as evaluator:
        first = evaluator.evaluate(0, UNMODIFIED, math.inf, time.monotonic() + 60)
        assert evaluator._judge._process
        psutil.Process(evaluator._judge._process.pid).kill()
        second = evaluator.evaluate(1, WORKS, math.inf, time.monotonic() + 60)
        whole = evaluator.quality(WORKS, time.monotonic() + 120)
    assert (first.outcome, second.outcome) == ("ok", "ok")
    assert whole
    assert len(whole.scores) == len(task.prompts), "for the winner, images of all prompts are made"
    assert first.quality
    assert second.quality
    assert first.quality.likeness == ()
    assert len(second.quality.likeness) == len(second.quality.scores)
    assert second.quality.ssim is not None
    assert 0.9 < second.quality.ssim < 1, "bf16 changes an image, and little"


@pytest.mark.slow
@pytest.mark.skipif(not probe().software.cxx_compiler, reason="inductor needs a C++ compiler")
def test_what_inductor_leaves_is_the_recipes_own(task: Task) -> None:
    """Half a file that a killed compiler leaves there fails no other recipe."""
    compiled = Recipe(turned={"compile": "regional"})
    with IsolatedEvaluator(task, MODULES) as evaluator:
        evaluator.opened(compiled, time.monotonic() + 300, {}).__exit__()
        folder = evaluator._place(compiled, "compiled")
        assert list(folder.rglob("*.so"))
        assert folder != evaluator._place(Recipe(turned={"compile": "regional", "precision": "bf16"}), "compiled")


@pytest.mark.slow
@pytest.mark.parametrize("together", [True, False])
def test_a_race_is_even_and_survives_a_fall(evaluator: IsolatedEvaluator, *, together: bool) -> None:
    lanes = race(evaluator, [WORKS, KILLED], time.monotonic() + 120, together=together)
    assert [lane.recipe for lane in lanes] == [UNMODIFIED, WORKS, KILLED]
    rounds = len(lanes[0].samples_ms)
    assert [len(lane.samples_ms) for lane in lanes] == [rounds, rounds, 0]
    assert rounds >= LOOKS[0]
    assert "SIGKILL" in lanes[2].fell_out
    assert lanes[1].facts["peak_memory_bytes"] > 0


def test_a_race_without_time_is_cut_off(evaluator: IsolatedEvaluator) -> None:
    with pytest.raises(CutOffError):
        race(evaluator, [WORKS], time.monotonic(), together=True)


@pytest.mark.slow
def test_a_later_sitting_makes_the_baselines_images_again_where_they_are_compared(task: Task) -> None:
    judged = replace(task, scorer=SCORER, scorer_id="shapes", fidelity="similar")
    with IsolatedEvaluator(judged, MODULES) as evaluator:
        first = evaluator.evaluate(0, UNMODIFIED, math.inf, time.monotonic() + 60)
        kept = {index: file.read_bytes() for index, file in evaluator.images(UNMODIFIED).items()}
    with IsolatedEvaluator(judged, MODULES) as later:
        later.recall([first])
        second = later.evaluate(1, WORKS, math.inf, time.monotonic() + 60)
        again = {index: later.images(UNMODIFIED)[index].read_bytes() for index in kept}
    assert second.quality, second.detail
    assert len(second.quality.likeness) == len(second.quality.scores)
    assert again == kept
