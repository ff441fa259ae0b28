"""Lives of a state machine: few and short in each run, more and longer where there is time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from ..faults.settings import MORE


def lives(many: int) -> pytest.MarkDecorator:
    """Run a test with so many lives of 50 steps, and with a few short ones where there is less time."""
    slow = pytest.param(many * MORE, 50, marks=pytest.mark.slow)
    return pytest.mark.parametrize(("examples", "steps"), [(8, 25), slow], ids=["few", "many"])


def live(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Fail where one of its lives goes another way than its model."""
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=limits)
