"""How many times faster, on noise that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.search.speedup import (
    FEWEST_RANKED,
    STUDENT,
    _cut,
    _cut_apart,
    is_faster,
    is_precise,
    speedup,
    speedup_apart,
)

CALLS = st.floats(0.01, 1e6)


@pytest.mark.parametrize("count", [4, 8, 16, 48])
@pytest.mark.parametrize("noise", ["normal", "t2", "spikes"])
def test_equals_are_called_different_in_one_run_of_twenty(count: int, noise: str) -> None:
    """In 400 runs 20 are expected, and 34 or more by chance in one of a thousand."""
    generator = np.random.default_rng(3)
    missed = 0
    for _ in range(400):
        one, other = (100 * np.exp(drawn(generator, noise, count)) for _ in range(2))
        _, low, high = speedup(list(one), list(other))
        missed += not low <= 1 <= high
    assert missed < 34


def drawn(generator: np.random.Generator, noise: str, count: int) -> np.ndarray:
    if noise == "t2":
        return 0.03 * generator.standard_t(2, count)
    spikes = generator.exponential(0.5, count) * (generator.random(count) < 0.1) if noise == "spikes" else 0.0
    return np.asarray(generator.normal(0, 0.03, count) + spikes)


def test_what_slows_both_does_not_blur_the_ratio() -> None:
    generator = np.random.default_rng(4)
    load = generator.lognormal(0, 0.5, 12)
    ratio, low, high = speedup(list(300 * load), list(100 * load * generator.lognormal(0, 0.01, 12)))
    assert ratio == pytest.approx(3, rel=0.02)
    assert high - low < 0.1


def test_a_call_that_was_held_up_moves_little() -> None:
    steady = [100.0] * 16
    assert speedup(steady, [*steady[:14], 900.0, 5000.0])[0] == 1.0


@given(st.lists(st.tuples(CALLS, CALLS), min_size=1, max_size=20))
def test_who_is_the_baseline_turns_the_interval_over(pairs: list[tuple[float, float]]) -> None:
    one, other = zip(*pairs, strict=True)
    ratio, low, high = speedup(one, other)
    assert 0 < low <= ratio * (1 + 1e-9)
    assert ratio <= high * (1 + 1e-9)
    assert speedup(other, one) == pytest.approx((1 / ratio, 1 / high, 1 / low), rel=1e-6)


def test_calls_without_a_partner_are_left_out() -> None:
    assert speedup([100.0, 110.0, 500.0], [50.0, 55.0])[0] == pytest.approx(2)


def test_one_pair_proves_nothing() -> None:
    found = speedup([100.0], [1.0])
    assert found[0] == pytest.approx(100)
    assert not is_faster(found)
    assert not is_precise(found)


def test_the_quantiles_are_those_of_the_tables() -> None:
    """Of 8 and 16 pairs 3 and 29 averages are left out at each end: Hollander, Wolfe & Chicken, table A.4."""
    scipy_stats = pytest.importorskip("scipy.stats")
    assert pytest.approx([scipy_stats.t.ppf(0.975, degrees) for degrees in range(1, 7)], abs=5e-4) == STUDENT
    assert len(STUDENT) == FEWEST_RANKED - 2
    assert (_cut(8), _cut(16)) == (3, 29)


def test_faster_is_more_than_a_tie() -> None:
    assert is_faster((1.05, 1.011, 1.09))
    assert not is_faster((1.05, 1.009, 1.09))
    assert is_precise((1.0, 0.981, 1.019))
    assert not is_precise((1.0, 0.97, 1.03))
    assert is_precise((2.0, 1.9, 2.1)), "of a large gain a tenth is enough"
    assert not is_precise((1.0, math.exp(-700), math.exp(700)))


@pytest.mark.parametrize("count", [3, 4, 8])
@pytest.mark.parametrize("noise", ["normal", "t2", "spikes"])
def test_equals_measured_apart_are_called_different_as_rarely(count: int, noise: str) -> None:
    generator = np.random.default_rng(6)
    missed = 0
    for _ in range(400):
        one, other = (100 * np.exp(drawn(generator, noise, each)) for each in (16, count))
        _, low, high = speedup_apart(list(one), list(other))
        missed += not low <= 1 <= high
    assert missed < 34


def test_few_calls_are_enough_where_all_of_them_are_faster() -> None:
    baseline_ms = [100.0, 103.0, 99.0, 180.0, 101.0, 98.0, 102.0, 104.0]
    ratio, low, _ = speedup_apart(baseline_ms, [50.0, 52.0, 90.0, 51.0])
    assert ratio == pytest.approx(2, rel=0.05)
    assert low > 1, "though two of the calls were held up"
    assert speedup_apart([100.0, 101.0, 99.0], [50.0, 51.0, 52.0])[1] > 1.5
    assert speedup_apart([100.0, 101.0, 99.0], [80.0, 99.0, 101.0])[1] < 1
    assert speedup_apart([100.0], [50.0])[1] < 1e-9, "one call of each proves nothing"


def test_the_ranks_of_calls_made_apart_are_those_of_the_tables() -> None:
    """Source: Hollander, Wolfe & Chicken 2014, table A.6, as the largest U that is still significant on both sides."""
    found = {(one, other): _cut_apart(one, other) for one, other in ((4, 4), (8, 8), (16, 4), (20, 20), (16, 1))}
    assert found == {(4, 4): 0, (8, 8): 13, (16, 4): 11, (20, 20): 127, (16, 1): -1}
