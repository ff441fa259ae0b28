"""When the last round has run long enough: on clocks that are made up."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import pytest

from autotune.search.calls import Calls
from autotune.search.evaluate import CutOffError
from autotune.search.objective import LATENCY
from autotune.search.race import FEWEST_ROUNDS, LOOKS, Lane, race
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.trial.failure import TrialFailure

if TYPE_CHECKING:
    from autotune.search.evaluate import IsolatedEvaluator

FAST = Recipe(turned={"precision": "bf16"})
AS_FAST = Recipe(turned={"memory_format": "channels_last"})
SLOW = Recipe(turned={"tome_ratio": 0.5})


class Process:
    """One that is always there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing was started."""


@dataclass
class Clocked:
    """Calls that take what they are said to take, with lognormal noise."""

    ms: dict[Recipe, float]
    noise: float
    baseline: Recipe = UNMODIFIED
    asked: list[tuple[Recipe, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.task = SimpleNamespace(screening=4, prompts=("",) * 8, objective=LATENCY)
        self._generator = np.random.default_rng(5)

    def opened(self, recipe: Recipe, deadline: float, facts: dict[str, Any]) -> Process:
        del recipe, deadline
        facts |= {"load_s": 1.0, "cold_s": 1.0, "peak_memory_bytes": 1}
        return Process()

    def run(self, process: Process, recipe: Recipe, prompts: range, deadline: float, facts: dict[str, Any]) -> Calls:
        del process, deadline, facts
        self.asked += [(recipe, index) for index in prompts]
        noise = self._generator.standard_normal(len(prompts))
        return Calls([self.ms[recipe] * math.exp(self.noise * each) for each in noise])


def raced(noise: float, *recipes: Recipe) -> tuple[list[Lane], Clocked]:
    evaluator = Clocked({UNMODIFIED: 100.0, FAST: 50.0, AS_FAST: 50.2, SLOW: 70.0}, noise)
    lanes = race(cast("IsolatedEvaluator", evaluator), recipes, time.monotonic() + 60, together=True)
    return lanes, evaluator


def test_a_clear_race_is_short_and_a_noisy_one_longer() -> None:
    assert len(raced(0.002, FAST)[0][0].samples_ms) == LOOKS[0]
    assert LOOKS[0] < len(raced(0.02, FAST, AS_FAST)[0][0].samples_ms) <= LOOKS[-1]
    assert len(raced(0.5, FAST, AS_FAST)[0][0].samples_ms) == LOOKS[-1]


def test_one_that_is_beaten_runs_no_further() -> None:
    lanes, _ = raced(0.02, FAST, SLOW, AS_FAST)
    assert [lane.beaten for lane in lanes] == [False, False, True, False]
    assert len(lanes[2].samples_ms) == LOOKS[0] < len(lanes[1].samples_ms) == len(lanes[0].samples_ms)


def test_fresh_prompts_come_first_and_turns_alternate() -> None:
    _, evaluator = raced(0.002, FAST)
    assert [index for recipe, index in evaluator.asked if recipe == FAST] == [4, 5, 6, 7, 4, 5, 6, 7]
    assert [recipe for recipe, _ in evaluator.asked[:4]] == [UNMODIFIED, FAST, FAST, UNMODIFIED]


def test_after_enough_rounds_time_is_left_to_others() -> None:
    clocked = cast("IsolatedEvaluator", Clocked({UNMODIFIED: 100, FAST: 50}, 0.3))
    lanes = race(clocked, [FAST], time.monotonic() + 60, together=True, spare_s=120)
    assert [len(lane.samples_ms) for lane in lanes] == [FEWEST_ROUNDS] * 2


class Broken(Clocked):
    """The baseline fails in its third call."""

    def run(self, process: Process, recipe: Recipe, prompts: range, deadline: float, facts: dict[str, Any]) -> Calls:
        if recipe == UNMODIFIED and len([each for each, _ in self.asked if each == UNMODIFIED]) >= 2:
            raise TrialFailure("crashed", "as it was told")
        return super().run(process, recipe, prompts, deadline, facts)


def test_nobody_runs_on_against_a_baseline_that_fell_out() -> None:
    broken = Broken({UNMODIFIED: 100, FAST: 50}, 0.01)
    with pytest.raises(CutOffError):
        race(cast("IsolatedEvaluator", broken), [FAST], time.monotonic() + 60, together=True)
    assert len([each for each, _ in broken.asked if each == FAST]) <= 3


def test_where_they_are_loaded_in_turn_they_make_as_many_calls_as_it_takes() -> None:
    clear, noisy = (
        Clocked({UNMODIFIED: 100.0, FAST: 50.0, AS_FAST: 50.2, SLOW: 70.0}, noise) for noise in (0.002, 0.5)
    )
    for evaluator, rounds in ((clear, LOOKS[0]), (noisy, LOOKS[-1])):
        turns = race(cast("IsolatedEvaluator", evaluator), [FAST, AS_FAST], time.monotonic() + 60, together=False)
        assert len(turns[0].samples_ms) == rounds
    assert [recipe for recipe, _ in clear.asked[:8]] == [UNMODIFIED] * 4 + [FAST] * 4
