"""The two verdicts, on noise that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.search.measured import Latency, Quality, Trial
from autotune.search.recipe import UNMODIFIED
from autotune.search.verdict import lower_bound


def quality(difference: float, bound: float) -> Quality:
    return Quality(scorer="s", scores=(90 + difference,) * 2, baseline_scores=(90.0, 90.0), bound=bound)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=40))
def test_the_bound_is_below_the_mean(differences: list[float]) -> None:
    assert lower_bound(differences) <= float(np.mean(differences)) + 1e-9


def test_no_difference_has_no_doubt() -> None:
    assert lower_bound([0.0] * 16) == 0.0


def test_one_pair_has_no_bound() -> None:
    with pytest.raises(ValueError, match="two pairs"):
        lower_bound([1.0])


@pytest.mark.parametrize("count", [16, 32])
def test_a_true_drop_at_the_limit_is_rarely_accepted(count: int) -> None:
    """With the mean exactly at the tolerance, the bound passes in at most 5 % of runs (7 % allowed for chance)."""
    generator = np.random.default_rng(1)
    accepted = sum(lower_bound(generator.normal(-0.9, 2.0, count)) > -0.9 for _ in range(400))
    assert accepted <= 0.07 * 400


def test_images_as_good_are_accepted() -> None:
    generator = np.random.default_rng(2)
    accepted = sum(lower_bound(generator.normal(0.0, 1.0, 16)) > -0.9 for _ in range(200))
    assert accepted >= 0.9 * 200


def test_a_shortfall_is_what_the_bound_misses() -> None:
    assert quality(-0.5, -0.8).shortfall(0.01) == pytest.approx(-0.1)
    assert quality(-0.5, -1.0).shortfall(0.01) > 0


def test_the_same_data_give_the_same_verdict() -> None:
    assert lower_bound([1.0, 2.0, -3.0, 0.5]) == lower_bound([1.0, 2.0, -3.0, 0.5])


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
