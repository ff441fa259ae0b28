"""When the baseline is measured again, and what that means for all others."""

from __future__ import annotations

import pytest

from autotune.probes.load import Load
from autotune.search.drift import EVERY, FEWEST, Drift
from autotune.search.measured import Latency, Trial
from autotune.search.recipe import UNMODIFIED

QUIET, BUSY = Load(cores=2), Load(cores=2, foreign_cores=1.0)


def trial(load: Load | None = QUIET, ms: float = 100.0, drift: float = 1.0) -> Trial:
    latency = Latency(samples_ms=(ms,))
    return Trial(
        number=0,
        recipe=UNMODIFIED,
        outcome="ok",
        latency=latency,
        load=load,
        drift=drift,
        load_s=1.0,
        cold_s=0.7,
        started_at="",
        duration_s=1,
    )


@pytest.fixture
def drift() -> Drift:
    begun = Drift()
    begun.begin(trial())
    return begun


def test_without_a_baseline_it_is_never_due() -> None:
    assert not Drift().is_due(1e6, anyhow=True)


def test_it_is_due_every_ten_trials(drift: Drift) -> None:
    for _ in range(EVERY):
        assert not drift.is_due(1e6)
        drift.heard(trial())
    assert drift.is_due(1e6)
    assert drift.cost_s == pytest.approx(2)
    assert not drift.is_due(19), "it may take a tenth of the time that is left"
    drift.note(102.0, QUIET)
    assert not drift.is_due(1e6)


def test_it_is_due_sooner_when_others_come_or_go(drift: Drift) -> None:
    for _ in range(FEWEST):
        assert not drift.is_due(1e6)
        drift.heard(trial(BUSY))
    assert drift.is_due(1e6)
    drift.note(150.0, BUSY)
    assert drift.factor == pytest.approx(1.5)
    for _ in range(FEWEST):
        drift.heard(trial(BUSY))
    assert not drift.is_due(1e6)


def test_others_on_the_gpu_are_others_too(drift: Drift) -> None:
    assert drift.is_more_or_less(Load(cores=2, foreign_gpu=0.3))
    drift.note(100.0, Load(cores=2, foreign_gpu=0.3))
    assert not drift.is_more_or_less(Load(cores=2, foreign_gpu=0.35))
    assert drift.is_more_or_less(QUIET)


def test_noise_is_no_drift(drift: Drift) -> None:
    drift.note(104.0, QUIET)
    assert drift.factor == 1


def test_a_baseline_of_an_earlier_sitting_is_doubted(drift: Drift) -> None:
    drift.doubt()
    assert drift.is_due(1e6)


def test_a_trial_beside_others_is_compared_as_if_it_had_been_alone() -> None:
    assert trial(BUSY, 150.0, drift=1.5).median_ms == 100.0
