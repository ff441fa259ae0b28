"""The quality verdict, on noise that is known; and what a measurement holds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.search.intervals import RISK, lower_bound
from autotune.search.measured import Latency, Quality, Trial
from autotune.search.recipe import UNMODIFIED
from autotune.search.verdict import Scores, judged, looks, risk_of, unseen_share, until_clear


def quality(difference: float, bound: float) -> Quality:
    return Quality(scorer="s", scores=(90 + difference,) * 2, baseline_scores=(90.0, 90.0), bound=bound)


def test_images_as_good_are_accepted() -> None:
    generator = np.random.default_rng(2)
    accepted = sum(lower_bound(generator.normal(0.0, 1.0, 16)) > -0.9 for _ in range(200))
    assert accepted >= 0.9 * 200


@given(st.integers(4, 200))
def test_the_looks_share_the_risk(most: int) -> None:
    """With one more, at which the time is used up, they are wrong no more often than a single look."""
    assert looks(most)[-1] == most
    assert [*looks(most)] == sorted({*looks(most)})
    assert sum(risk_of(count, most) for count in looks(most)) + risk_of(1, most) <= RISK + 1e-12


def drawn(differences: np.ndarray, asked: list[int]) -> Callable[[int], Scores]:
    """Return what makes the images that it is asked for, and notes how many."""

    def scored(count: int) -> Scores:
        asked.append(count)
        return 90 + differences[:count], np.full(count, 90.0)

    return scored


@pytest.mark.parametrize(
    ("difference", "verdict", "images"), [(0.0, "good", [8]), (-5.0, "worse", [8]), (-0.9, "open", [8, 16, 24, 32])]
)
def test_only_as_many_images_are_made_as_it_takes(difference: float, verdict: str, images: list[int]) -> None:
    asked: list[int] = []
    noise = np.random.default_rng(3).normal(0.0, 0.1, 32)
    noise -= noise.mean()
    found = until_clear(drawn(difference + noise, asked), 0.01, 32)
    assert (found.verdict, asked) == (verdict, images)
    assert found.images == images[-1]


@pytest.mark.parametrize("scatter", [0.3, 2.0])
def test_looking_often_does_not_accept_more(scatter: float) -> None:
    """With the mean just at what is tolerated, at most 5 % are accepted, whatever the look (8 % allowed for chance)."""
    generator = np.random.default_rng(5)
    found = [until_clear(drawn(generator.normal(-0.9, scatter, 32), []), 0.01, 32) for _ in range(200)]
    assert sum(each.verdict == "good" for each in found) <= 0.08 * 200


def test_an_early_answer_takes_more_than_a_late_one() -> None:
    scores = 90 + np.array([-0.5, 0.4, -0.6, 0.5, -0.4, 0.6, -0.5, 0.5]), np.full(8, 90.0)
    assert judged(scores, 0.01, 32).bound < judged(scores, 0.01, 8).bound


def test_what_no_image_showed_may_still_be_there() -> None:
    assert unseen_share(29) == pytest.approx(0.1, abs=0.002)
    assert unseen_share(4) > 0.5


def test_a_shortfall_is_what_the_bound_misses() -> None:
    assert quality(-0.5, -0.8).shortfall(0.01) == pytest.approx(-0.1)
    assert quality(-0.5, -1.0).shortfall(0.01) > 0


def test_feasible_is_run_and_good() -> None:
    trial = Trial(number=0, recipe=UNMODIFIED, outcome="ok", started_at="", duration_s=1.0)
    assert trial.feasible(0.01)
    assert not trial.model_copy(update={"outcome": "slow"}).feasible(0.01)
    assert not trial.model_copy(update={"quality": quality(-2, -3)}).feasible(0.01)
    assert trial.median_ms == math.inf


def test_one_image_in_ten_lost_as_much_as_the_floor() -> None:
    lost = Quality(scorer="s", scores=(90.0,) * 9 + (50.0,) * 2, baseline_scores=(90.0,) * 11, bound=-20)
    assert lost.differences == (0.0,) * 9 + (-40.0,) * 2
    assert lost.floor == -40
    assert quality(-2.0, -3.0).floor == -2


def test_scores_must_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        Quality(scorer="s", scores=(1.0,), baseline_scores=(1.0, 2.0), bound=0.0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "3", None])
def test_no_value_holds_what_is_no_number(wrong: object) -> None:
    with pytest.raises(ValueError, match="samples_ms"):
        Latency(samples_ms=(wrong,))  # type: ignore[arg-type]  # that is the point
