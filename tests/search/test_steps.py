"""The clock of denoising steps, on a scheduler whose steps take what they are said to take."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from autotune.search.assemble import has_uneven_steps
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.trial import steps
from autotune.search.trial.steps import StepClock, TooSlowError

if TYPE_CHECKING:
    from collections.abc import Callable


class Scheduler:
    """Counts its steps."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self, sample: float, *, eta: float = 0.0) -> float:
        """Make one."""
        del eta
        self.steps += 1
        return sample


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as a list with one number."""
    now = [0.0]
    monkeypatch.setattr(steps, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


Call = tuple["StepClock", "Callable[..., None]", Scheduler]


@pytest.fixture
def call(seconds: list[float]) -> Call:
    scheduler = Scheduler()
    clock = StepClock(SimpleNamespace(scheduler=scheduler), "cpu")

    def calls(*durations_s: float) -> None:
        for duration_s in durations_s:
            seconds[0] += duration_s
            scheduler.step(1.0)

    clock.begin()
    calls(*[1.0] * 20)
    return clock, calls, scheduler


def test_steps_are_timed_and_look_as_they_did(call: Call) -> None:
    clock, calls, scheduler = call
    clock.begin()
    calls(3.0, 0.1, 0.2, 0.1)
    assert clock.median_ms() == pytest.approx(100)
    assert scheduler.step(5.0, eta=1.0) == 5.0
    assert "eta" in inspect.signature(scheduler.step).parameters


def test_a_call_that_will_be_too_slow_is_given_up(call: Call) -> None:
    clock, calls, scheduler = call
    clock.begin(limit_ms=15_000)
    with pytest.raises(TooSlowError) as given_up:
        calls(*[1.0] * 20)
    assert scheduler.steps == 24, "after a fifth of the steps"
    assert given_up.value.at_least_ms == pytest.approx(20_000)
    assert (given_up.value.done, given_up.value.steps) == (4, 20)


def test_one_that_was_held_up_in_the_beginning_is_not(call: Call) -> None:
    clock, calls, _ = call
    clock.begin(limit_ms=18_000)
    calls(2.0, 3.0, 0.5, 4.0, *[0.2] * 16)
    clock.begin(limit_ms=21_000)
    calls(*[1.0] * 20)


@pytest.mark.parametrize("pipe", [SimpleNamespace(), SimpleNamespace(scheduler=object())])
def test_a_pipeline_without_steps_has_none(pipe: Any) -> None:
    clock = StepClock(pipe, "cpu")
    clock.begin(limit_ms=1.0)
    assert clock.median_ms() == 0.0


def test_recipes_whose_steps_differ_are_known() -> None:
    assert not has_uneven_steps(UNMODIFIED)
    assert not has_uneven_steps(Recipe(turned={"precision": "bf16"}))
    assert has_uneven_steps(Recipe(turned={"guidance_cutoff": 0.5}))
    assert has_uneven_steps(Recipe(turned={"precision": "bf16", "feature_cache": "deepcache_3"}))
