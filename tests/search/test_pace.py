"""How many calls a trial makes."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from autotune.search.measured import Latency
from autotune.search.pace import FIRST_CALLS, MOST_CALLS, MOST_WARM_UP, is_enough, is_hopeless, warm_up_calls

STEADY = (100.0, 100.5, 99.5, 100.0)


def latency(*samples: float, steps: tuple[float, ...] = ()) -> Latency:
    return Latency(samples_ms=samples, steps_ms=steps)


def test_calls_before_the_pace_is_steady_are_warm_up() -> None:
    assert warm_up_calls(STEADY) == 0
    assert warm_up_calls((130.0, *STEADY)) == 1
    assert warm_up_calls((85.0, 92.0, *STEADY)) == 2, "a clock that has yet to fall makes the first ones fast"
    assert warm_up_calls((105.0, 100.0, 110.0, 95.0, 104.0, 92.0)) == 0, "that is noise"


@given(st.lists(st.floats(0.1, 1e5), max_size=20))
def test_there_is_always_something_left(steps_ms: list[float]) -> None:
    count = warm_up_calls(steps_ms)
    assert 0 <= count <= MOST_WARM_UP
    assert count == 0 or len(steps_ms) - count >= FIRST_CALLS


def test_a_warm_up_does_not_count() -> None:
    assert latency(150.0, *STEADY, steps=(15.0, 10.0, 10.0, 10.0, 10.0)).median_ms == 100.0
    assert latency(150.0, *STEADY).warm_up == 0, "where no steps were seen"


def test_calls_in_quiet_count_where_there_are_enough() -> None:
    beside = Latency(samples_ms=(100.0, 101.0, 102.0, 180.0, 200.0, 190.0), foreign_cores=(0.1, 0, 0, 1, 1, 1))
    assert beside.median_ms == 101.0
    assert Latency(samples_ms=(100.0, 180.0, 200.0), foreign_cores=(0.0, 1.0, 1.0)).median_ms == 180.0


def test_one_call_tells_a_hopeless_recipe_unless_others_were_there() -> None:
    assert is_hopeless(latency(125.0), 100.0, beside_others=False)
    assert not is_hopeless(latency(115.0), 100.0, beside_others=False)
    assert not is_hopeless(latency(190.0), 100.0, beside_others=True)
    assert is_hopeless(latency(210.0), 100.0, beside_others=True)
    assert is_hopeless(latency(190.0, 180.0, 170.0), 100.0, beside_others=True)


def test_a_call_that_was_held_up_makes_nothing_hopeless() -> None:
    assert not is_hopeless(latency(100.0, 400.0), 100.0, beside_others=False)
    assert is_hopeless(latency(119.0, 119.0, 119.0), 100.0, beside_others=False)
    assert not is_hopeless(latency(500.0), math.inf, beside_others=False)


def test_what_is_near_the_best_is_measured_longer() -> None:
    rough = (100.0, 112.0, 91.0)
    assert not is_enough(latency(*STEADY[:2]), 100.0)
    assert is_enough(latency(*STEADY[:3]), 100.0)
    assert not is_enough(latency(*rough), 100.0)
    assert is_enough(latency(*rough), 80.0), "it is not near"
    assert not is_enough(latency(*rough), math.inf), "the baseline is what all are compared with"
    assert is_enough(latency(*rough, *rough, 100.0), 100.0)
    assert len((*rough, *rough, 100.0)) == MOST_CALLS


def test_three_calls_that_take_a_minute_are_enough() -> None:
    noisy = (20_000.0, 23_000.0, 18_000.0)
    assert is_enough(latency(*noisy), math.inf)
    assert not is_enough(latency(*noisy, steps=(900.0, 700.0, 800.0)), math.inf), "the first is another"
    assert not is_enough(latency(*(0.9 * each for each in noisy)), math.inf)
    assert not is_enough(latency(30_000.0, 31_000.0), math.inf)


def test_three_calls_of_which_the_first_is_another_are_not_enough() -> None:
    assert not is_enough(latency(120.0, 100.0, 100.0, steps=(12.0, 10.0, 10.0)), 50.0)
    assert is_enough(latency(120.0, 100.0, 100.0, 100.0, steps=(12.0, 10.0, 10.0, 10.0)), 50.0)
    assert is_enough(latency(90e3, 70e3, 70e3, steps=(9e3, 7e3, 7e3)), 50e3) is False


def test_calls_of_one_step_have_no_pace_and_are_enough() -> None:
    alike = Latency(samples_ms=(10.0, 10.0, 10.0), steps_ms=(0.0, 0.0, 0.0))
    assert is_enough(alike, 10.0)
