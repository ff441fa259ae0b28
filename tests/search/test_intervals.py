"""Bounds of a mean, against tables and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.search.intervals import RISK, lower_bound, resampled_means, student


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=40), st.floats(0.001, 0.5))
def test_the_bound_is_below_the_mean(values: list[float], risk: float) -> None:
    assert lower_bound(values, risk) <= float(np.mean(values)) + 1e-9


def test_less_risk_gives_a_lower_bound() -> None:
    values = np.random.default_rng(3).normal(size=12)
    assert lower_bound(values, 0.001) < lower_bound(values, 0.01) < lower_bound(values, 0.05)


def test_no_scatter_has_no_doubt() -> None:
    assert lower_bound([0.0] * 16) == 0.0


def test_one_value_has_no_bound() -> None:
    with pytest.raises(ValueError, match="two values"):
        lower_bound([1.0])


@pytest.mark.parametrize("count", [16, 32])
def test_a_true_mean_is_rarely_below_its_bound(count: int) -> None:
    """At most 5 % of runs (7 % allowed for chance)."""
    generator = np.random.default_rng(1)
    wrong = sum(lower_bound(generator.normal(-0.9, 2.0, count)) > -0.9 for _ in range(400))
    assert wrong <= 0.07 * 400


def test_the_same_data_give_the_same_bound() -> None:
    assert lower_bound([1.0, 2.0, -3.0, 0.5]) == lower_bound([1.0, 2.0, -3.0, 0.5])


def test_students_quantiles_are_those_of_the_tables() -> None:
    assert student(1, 0.05) == pytest.approx(6.314, abs=1e-3)
    assert student(15, 0.05) == pytest.approx(1.753, abs=1e-3)
    assert student(30, 0.025) == pytest.approx(2.042, abs=1e-3)


def test_clusters_are_drawn_whole() -> None:
    """Two values that always come together are worth one: their means scatter as those of one do."""
    single = np.random.default_rng(4).normal(size=20)
    doubled = np.stack([single, single], axis=1)
    assert resampled_means(doubled) == pytest.approx(resampled_means(single))


def test_a_sample_with_a_tail_below_has_a_lower_bound_than_its_mirror_image() -> None:
    tail = 1 - np.random.default_rng(6).exponential(1.0, 24)
    assert lower_bound(tail) < tail.mean() - student(23, RISK) * tail.std(ddof=1) / np.sqrt(24)
    assert tail.mean() - lower_bound(tail) > lower_bound(-tail) * -1 - tail.mean()


def test_a_tail_below_fools_it_rarely() -> None:
    """Student's bound alone is above the true mean of these in about one of ten runs (9 % allowed for chance)."""
    generator = np.random.default_rng(8)
    wrong = sum(lower_bound(1 - generator.exponential(1.0, 32)) > 0 for _ in range(200))
    assert wrong <= 0.09 * 200
