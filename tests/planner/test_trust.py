"""What is said of a tuning whose machine was not quiet."""

from __future__ import annotations

from autotune.planner.trust import doubts
from autotune.probes.load import Load
from autotune.search.measured import Latency, Trial
from autotune.search.race import Lane
from autotune.search.recipe import UNMODIFIED

QUIET, BUSY = Load(cores=2, foreign_cores=0.05), Load(cores=2, foreign_cores=1.04)


def trial(load: Load | None, drift: float = 1.0) -> Trial:
    latency = Latency(samples_ms=(100.0,))
    return Trial(
        number=0, recipe=UNMODIFIED, outcome="ok", latency=latency, load=load, drift=drift, started_at="", duration_s=1
    )


def test_of_a_quiet_machine_nothing_is_said() -> None:
    lane = Lane(UNMODIFIED, [100.0] * 8, loads=[QUIET] * 8)
    assert doubts([trial(QUIET), trial(None)], [lane]) == ()


def test_others_are_said() -> None:
    assert doubts([trial(QUIET), trial(BUSY), trial(BUSY)]) == (
        "Others kept 1.0 of 2 cores busy during 2 of 3 trials.",
    )
    lane = Lane(UNMODIFIED, [100.0] * 8, loads=[BUSY] * 8)
    [said] = doubts([trial(BUSY)], [lane])
    assert said.startswith(
        "Others kept 1.0 of 2 cores busy during 1 of 1 trials and the last round: there the baseline"
    )
    lane.loads = [QUIET] * 6 + [BUSY] * 2
    assert "during some calls of the last round:" in doubts([trial(QUIET)], [lane])[0]


def test_every_other_disturbance_has_its_sentence() -> None:
    worst = Load(cores=2, stolen_cores=0.5, stalled=0.3, held_back=0.4, throttled=True)
    worst = worst.model_copy(update={"foreign_gpu": 0.25, "gpu_slowed": True, "gpu_clock": 0.6})
    assert [said.partition(" during")[0] for said in doubts([trial(worst)])] == [
        "The host took 25 % of 2 cores away",
        "The container's CPU quota was used up 40 % of the time",
        "Memory was so short that something waited for it 30 % of the time",
        "The CPU was slowed down for its heat",
        "Others used 25 % of the GPU",
        "Heat or supply slowed the GPU down, to 60 % of its clock,",
    ]


def test_what_is_said_is_never_nothing() -> None:
    [said] = doubts([trial(Load(cores=2, stolen_cores=0.041))])
    assert said == "The host took 2 % of 2 cores away during 1 of 1 trials."


def test_a_machine_that_changed_is_said() -> None:
    [said] = doubts([trial(QUIET), trial(QUIET, 1.4), trial(QUIET, 0.5)])
    assert said.startswith("The machine changed: the baseline, measured again, took 0.50 times as long as at first")
    assert said.endswith("2 of 3 trials were compared accordingly.")


def test_calls_that_scatter_are_said() -> None:
    lane = Lane(UNMODIFIED, [100.0, 130.0, 80.0, 120.0, 70.0, 100.0, 140.0, 100.0])
    assert doubts([], [lane]) == ("Calls of the last round scatter by 30 %: the ratio says more than the latencies.",)
