"""Which job comes next: priorities, longest first, budgets, and what is tried again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.planner.lab.schedule import WAIT_S, Job, Schedule, lower_bound_s


def job(key: str, expected_s: float, priority: int = 0, kind: str = "a") -> Job:
    return Job(key=key, kind=kind, expected_s=expected_s, priority=priority)


def taken(schedule: Schedule, kind: str = "a") -> list[str]:
    keys = []
    while found := schedule.take(kind):
        schedule.done(found, found.expected_s)
        keys.append(found.key)
    return keys


def test_priority_first_then_the_longest() -> None:
    schedule = Schedule()
    schedule.add([job("short", 1), job("long", 9), job("urgent", 2, priority=1), job("elsewhere", 5, kind="b")])
    assert taken(schedule) == ["urgent", "long", "short"]
    assert [left.key for left in schedule.waiting] == ["elsewhere"]


def test_the_total_is_never_promised_twice() -> None:
    schedule = Schedule(total_s=10)
    schedule.add([job("first", 6), job("too long now", 5), job("fits", 4)])
    running = [schedule.take("a"), schedule.take("a")]
    assert [each.key for each in running if each] == ["first", "fits"]
    assert schedule.take("a") is None
    assert not schedule.waits_for("a")
    assert running[0]
    schedule.done(running[0], 1.0)  # it took less than was expected
    later = schedule.take("a")
    assert later
    assert later.key == "too long now"


def test_what_can_pass_is_tried_again_after_a_while() -> None:
    schedule = Schedule(retries=2)
    schedule.add([job("x", 5)])
    now_s, tries = 0.0, 0
    while True:
        found = schedule.take("a", now_s)
        assert found
        tries += 1
        if not schedule.failed(found, "machine lost", 1.0, now_s):
            break
        assert schedule.take("a", now_s) is None, "not at once"
        assert schedule.waits_for("a")
        now_s += WAIT_S * 2 ** (tries - 1)
    assert tries == 3
    assert schedule.spent_s == 3.0
    assert not schedule.waits_for("a")


@pytest.mark.parametrize("cause", ["ModelError", "UnfitError", "UsageError"])
def test_what_cannot_pass_is_not_tried_again(cause: str) -> None:
    schedule = Schedule()
    schedule.add([job("x", 5)])
    found = schedule.take("a")
    assert found
    assert not schedule.failed(found, cause, 1.0)
    assert schedule.take("a", 1e9) is None


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=60), st.integers(1, 6))
def test_no_more_than_a_third_above_what_is_possible(seconds: list[float], machines: int) -> None:
    schedule = Schedule()
    schedule.add(job(f"{number}", each) for number, each in enumerate(seconds))
    free_s = [0.0] * machines
    while found := schedule.take("a"):
        soonest = free_s.index(min(free_s))
        free_s[soonest] += found.expected_s
        schedule.done(found, found.expected_s)
    bound_s = lower_bound_s((("a", each) for each in seconds), {"a": machines})
    longest_two = sum(sorted(seconds, reverse=True)[machines - 1 : machines + 1]) if len(seconds) > machines else 0
    assert max(free_s) <= 4 / 3 * max(bound_s, longest_two) + 1e-6


def test_every_job_is_run_once_whatever_fails() -> None:
    chance, schedule = random.Random(1), Schedule(retries=9)
    schedule.add(job(f"{number}", chance.uniform(1, 9)) for number in range(200))
    ended: list[str] = []
    now_s = 0.0
    while any(True for _ in schedule.waiting):
        found = schedule.take("a", now_s)
        if found is None:
            now_s += WAIT_S
        elif chance.random() < 0.3:
            assert schedule.failed(found, "process lost", 1.0, now_s)
        else:
            schedule.done(found, 1.0)
            ended.append(found.key)
    assert sorted(ended) == sorted(f"{number}" for number in range(200))
