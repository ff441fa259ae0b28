"""What is to be small: of calls, and what a call may take for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.search.objective import LATENCY, Objective
from autotune.search.race import Lane
from autotune.search.recipe import UNMODIFIED

if TYPE_CHECKING:
    from autotune.search.objective import Kind

TOTAL = Objective(kind="total", calls=20)


def test_of_calls_it_is_made() -> None:
    assert LATENCY.costs([100.0, 110.0], 3, 4) == (100.0, 110.0)
    assert Objective(kind="throughput", batch=4).costs([100.0]) == (25.0,)
    assert Objective(kind="energy").costs([100.0], energy_j=[7.5]) == (7.5,)
    assert TOTAL.costs([100.0, 110.0], load_s=3, cold_s=4) == (7000 + 1900, 7000 + 2090)


@given(st.floats(1, 1e4), st.floats(0, 100), st.floats(0, 100), st.integers(2, 100), st.integers(1, 8))
def test_a_call_of_that_length_has_that_cost(ms: float, load_s: float, cold_s: float, calls: int, batch: int) -> None:
    kinds: tuple[Kind, ...] = ("latency", "throughput", "total")
    for kind in kinds:
        objective = Objective(kind=kind, calls=calls, batch=batch)
        [cost] = objective.costs([ms], load_s, cold_s)
        assert objective.call_ms(cost, load_s, cold_s) == pytest.approx(ms, rel=1e-3)


def test_where_loading_alone_takes_longer_no_call_is_short_enough() -> None:
    assert TOTAL.call_ms(8000, load_s=5, cold_s=4) == 0
    assert Objective(kind="total").call_ms(10_000, 5, 4) == math.inf, "the cold call is all"
    assert Objective(kind="energy").call_ms(3, 5, 4) == math.inf
    assert TOTAL.call_ms(math.inf, 5, 4) == math.inf


def test_only_others_than_latency_have_a_key() -> None:
    assert LATENCY.key == ""
    assert TOTAL.key == "total of 20 calls"
    assert Objective(kind="energy").key == "energy"


def test_a_lane_races_for_it() -> None:
    lane = Lane(UNMODIFIED, [100.0], facts={"load_s": 3.0, "cold_s": 4.0}, objective=TOTAL)
    assert lane.costs == (8900.0,)
    assert Lane(UNMODIFIED, [100.0]).costs == (100.0,)
