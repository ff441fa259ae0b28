"""The bound of a quality verdict, on noise that is known; and what a measurement holds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autotune.search.intervals import lower_bound
from autotune.search.measured import Latency, Quality, Trial
from autotune.search.recipe import UNMODIFIED


def quality(difference: float, bound: float) -> Quality:
    return Quality(scorer="s", scores=(90 + difference,) * 2, baseline_scores=(90.0, 90.0), bound=bound)


def test_images_as_good_are_accepted() -> None:
    generator = np.random.default_rng(2)
    accepted = sum(lower_bound(generator.normal(0.0, 1.0, 16)) > -0.9 for _ in range(200))
    assert accepted >= 0.9 * 200


def test_a_shortfall_is_what_the_bound_misses() -> None:
    assert quality(-0.5, -0.8).shortfall(0.01) == pytest.approx(-0.1)
    assert quality(-0.5, -1.0).shortfall(0.01) > 0


def test_feasible_is_run_and_good() -> None:
    trial = Trial(number=0, recipe=UNMODIFIED, outcome="ok", started_at="", duration_s=1.0)
    assert trial.feasible(0.01)
    assert not trial.model_copy(update={"outcome": "slow"}).feasible(0.01)
    assert not trial.model_copy(update={"quality": quality(-2, -3)}).feasible(0.01)
    assert trial.median_ms == math.inf


def test_scores_must_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        Quality(scorer="s", scores=(1.0,), baseline_scores=(1.0, 2.0), bound=0.0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "3", None])
def test_no_value_holds_what_is_no_number(wrong: object) -> None:
    with pytest.raises(ValueError, match="samples_ms"):
        Latency(samples_ms=(wrong,))  # type: ignore[arg-type]  # that is the point
