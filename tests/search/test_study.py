"""The loop, with evaluators that are formulas."""

from __future__ import annotations

import math
import time

import pytest

from autotune.errors import UnfitError
from autotune.probes.machine import Machine
from autotune.search.bayesian import BayesianSampler
from autotune.search.evaluate import CutOffError
from autotune.search.knobs import KNOBS, Knob
from autotune.search.measured import Latency, Outcome, Quality, Trial
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.space import Space
from autotune.search.study import study

TOLERANCE = 0.01
SPACE = Space(
    choices={knob.name: (knob.default,) for knob in KNOBS}
    | {
        "precision": ("fp32", "bf16"),
        "quantization": ("none", "torchao_int8_weight_only", "torchao_int8_dynamic", "nncf_int8"),
        "tome_ratio": (0.0, 0.25, 0.5),
        "compile": ("none", "full", "openvino"),
    },
    refused={},
)


def trial_of(number: int, recipe: Recipe, ms: float = 0.0, loss: float = 0.0, outcome: Outcome = "ok") -> Trial:
    quality = Quality(scorer="s", scores=(90 - loss,) * 2, baseline_scores=(90.0,) * 2, bound=-loss)
    return Trial(
        number=number,
        recipe=recipe,
        outcome=outcome,
        latency=Latency(samples_ms=(ms,) * 3) if ms else None,
        peak_memory_bytes=1000,
        quality=quality if outcome == "ok" else None,
        started_at="2026-01-01T00:00:00+00:00",
        duration_s=1.0,
    )


class Formula:
    """An evaluator whose best feasible recipe is known: OpenVINO, bf16, NNCF, and no token merging."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.best: list[float] = []

    def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        del deadline
        self.tried.append(recipe.key)
        self.best.append(best)
        turned = recipe.turned
        if turned.get("compile") == "full" and turned.get("tome_ratio"):
            return trial_of(number, recipe, outcome="crashed")
        ms = 1000.0
        ms *= {"openvino": 0.4, "full": 0.7}.get(str(turned.get("compile")), 1.0)
        ms *= 0.6 if turned.get("precision") == "bf16" else 1.0
        ms *= {"nncf_int8": 0.8, "torchao_int8_dynamic": 3.0}.get(str(turned.get("quantization")), 1.0)
        ms *= 1 - 0.2 * float(turned.get("tome_ratio", 0.0))
        return trial_of(number, recipe, ms, loss=4 * float(turned.get("tome_ratio", 0.0)))


def run(evaluator: Formula, most: int = 100, known: tuple[Trial, ...] = ()) -> list[Trial]:
    sampler = BayesianSampler(SPACE, "cpu", TOLERANCE)
    happened = study(evaluator, sampler, known, TOLERANCE, time.monotonic() + 60, most)
    return [event for event in happened if isinstance(event, Trial)]


def test_the_baseline_is_first_and_nothing_is_tried_twice() -> None:
    evaluator = Formula()
    trials = run(evaluator)
    assert trials[0].recipe == UNMODIFIED
    assert len(set(evaluator.tried)) == len(evaluator.tried)
    assert [trial.number for trial in trials] == list(range(len(trials)))


def test_the_best_feasible_recipe_is_found_though_a_lossy_one_is_faster() -> None:
    best = min((t for t in run(Formula()) if t.feasible(TOLERANCE)), key=lambda trial: trial.median_ms)
    assert best.recipe == Recipe(turned={"compile": "openvino", "precision": "bf16", "quantization": "nncf_int8"})


def test_what_is_asked_for_first_is_tried_first_as_far_as_the_space_has_it() -> None:
    first = [Recipe(turned={"tome_ratio": 0.5, "precision": "bf16"}), Recipe(turned={"offload": "model"}), UNMODIFIED]
    sampler = BayesianSampler(SPACE, "cpu", TOLERANCE, first=first)
    evaluator = Formula()
    list(study(evaluator, sampler, (), TOLERANCE, time.monotonic() + 60, 3))
    assert evaluator.tried[:2] == [UNMODIFIED.key, first[0].key]
    assert first[1].key not in evaluator.tried


def test_only_recipes_of_the_space_are_tried() -> None:
    assert all(trial.recipe in SPACE for trial in run(Formula()))


def test_the_number_of_trials_is_kept() -> None:
    assert len(run(Formula(), most=7)) == 7


def test_as_much_time_is_left_as_the_trials_so_far_say() -> None:
    evaluator, deadline = Formula(), time.monotonic() + 60
    sampler = BayesianSampler(SPACE, "cpu", TOLERANCE)
    ends = study(evaluator, sampler, (), TOLERANCE, deadline, 100, kept_s=lambda: 61.0 * (len(evaluator.tried) > 2))
    assert len([event for event in ends if isinstance(event, Trial)]) == 3


def test_what_is_known_is_not_tried_again() -> None:
    first = tuple(run(Formula(), most=9))
    evaluator = Formula()
    later = run(evaluator, most=14, known=first)
    assert len(later) == 5
    assert not {trial.recipe.key for trial in first} & set(evaluator.tried)


def test_the_best_so_far_is_told_to_the_evaluator() -> None:
    evaluator = Formula()
    trials = run(evaluator, most=6)
    assert evaluator.best[0] == math.inf
    for index in range(1, 6):
        able = [trial.median_ms for trial in trials[:index] if trial.feasible(TOLERANCE)]
        assert evaluator.best[index] == min(able)


def test_every_recipe_of_a_small_space_is_tried_where_all_are_as_good() -> None:
    space = Space(choices={**SPACE.choices, "quantization": ("none",), "tome_ratio": (0.0,)}, refused={})
    sampler = BayesianSampler(space, "cpu", TOLERANCE)
    trials = [e for e in study(Formula(), sampler, (), TOLERANCE, time.monotonic() + 60, 100) if isinstance(e, Trial)]
    assert {trial.recipe for trial in trials} == set(space.recipes())


def test_the_search_ends_when_nothing_better_is_seen() -> None:
    class Flat(Formula):
        def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
            super().evaluate(number, recipe, best, deadline)
            return trial_of(number, recipe, 1000.0)

    assert len(run(Flat())) < SPACE.size


def test_a_trial_that_was_cut_off_is_not_yielded() -> None:
    class CutOff(Formula):
        def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
            if number == 3:
                raise CutOffError
            return super().evaluate(number, recipe, best, deadline)

    assert len(run(CutOff())) == 3


def test_a_baseline_that_fails_ends_it() -> None:
    class Broken(Formula):
        def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
            del best, deadline
            return trial_of(number, recipe, outcome="out_of_memory")

    with pytest.raises(UnfitError, match="out_of_memory"):
        run(Broken())
    with pytest.raises(UnfitError, match="--fresh"):
        run(Formula(), known=(trial_of(0, UNMODIFIED, outcome="out_of_memory"),))


@pytest.mark.parametrize("seed", range(5))
def test_failures_teach_the_sampler(seed: int) -> None:
    """A choice that always runs out of memory is given up after three trials."""

    class Cliff(Formula):
        def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
            if recipe.turned.get("quantization") != "torchao_int8_dynamic":
                return super().evaluate(number, recipe, best, deadline)
            self.tried.append(recipe.key)
            return trial_of(number, recipe, outcome="out_of_memory")

    evaluator = Cliff()
    sampler = BayesianSampler(SPACE, "cpu", TOLERANCE, seed=seed)
    list(study(evaluator, sampler, (), TOLERANCE, time.monotonic() + 60, 100))
    assert sum("int8_dynamic" in key for key in evaluator.tried) <= 3


def test_knob_refuses_contradictions(machine: Machine) -> None:
    del machine
    with pytest.raises(ValueError, match="default"):
        Knob(name="x", says="", choices=(1, 2), default=3, source="")


def test_a_space_too_large_to_go_through_is_searched_all_the_same() -> None:
    everything = Space({knob.name: knob.choices for knob in KNOBS}, {})
    sampler = BayesianSampler(everything, "cpu", TOLERANCE)
    trials = [
        event
        for event in study(Formula(), sampler, (), TOLERANCE, time.monotonic() + 60, 40)
        if isinstance(event, Trial)
    ]
    assert len({trial.recipe for trial in trials}) == len(trials)
    assert all(trial.recipe in everything for trial in trials)
    best = min((trial for trial in trials if trial.feasible(TOLERANCE)), key=lambda trial: trial.median_ms)
    assert best.median_ms == pytest.approx(1000 * 0.4 * 0.6 * 0.8)
