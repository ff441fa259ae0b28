"""From trials to plans: what wins must be faster beyond the noise, as good, and beaten by nothing that was tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.planner.conclude import (
    FINALISTS,
    confirming_s,
    finalists,
    fit_together,
    gains_of,
    neighbours,
    race_s,
    raced_plan,
    screened_plan,
    winner,
)
from autotune.planner.ties import lossiness
from autotune.search.front import front
from autotune.search.knobs import KNOBS
from autotune.search.measured import Latency, Outcome, Quality, Trial
from autotune.search.race import Lane
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.space import Space

from ..store.samples import MACHINE, SCOPE

if TYPE_CHECKING:
    from autotune.probes.machine import Machine

TOLERANCE = 0.01
MIB = 2**20
EVERYTHING = Space({knob.name: knob.choices for knob in KNOBS}, {})
BF16 = Recipe(turned={"precision": "bf16"})
TOME = Recipe(turned={"tome_ratio": 0.5})
INT8 = Recipe(turned={"quantization": "bnb_int8"})
BOTH = Recipe(turned={"precision": "bf16", "tome_ratio": 0.5})
NOISE = (1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 0.98)


def quality_of(bound: float, mean: float = 30.0) -> Quality:
    return Quality(scorer="s", scores=(mean, mean), baseline_scores=(30.0, 30.0), bound=bound)


GOOD, MISSED = quality_of(-0.29), quality_of(-0.31)  # 1 % of 30 may be lost


def trial_of(
    recipe: Recipe,
    ms: float | None,
    *,
    outcome: Outcome = "ok",
    peak_mib: float | None = 100,
    quality: Quality | None = None,
    samples: tuple[float, ...] = NOISE,
) -> Trial:
    return Trial(
        number=0,
        recipe=recipe,
        outcome=outcome,
        latency=None if ms is None else Latency(samples_ms=tuple(ms * sample for sample in samples)),
        peak_memory_bytes=None if peak_mib is None else int(peak_mib * MIB),
        quality=quality,
        load_s=1.0,
        cold_s=2.0,
        started_at="2026-11-22T12:00:00+00:00",
        duration_s=1.0,
    )


def lane_of(recipe: Recipe, ms: float, peak_mib: int = 100, fell_out: str = "") -> Lane:
    """Return a lane whose every call was slowed by the same neighbours as the baseline's."""
    facts: dict[str, Any] = {"peak_memory_bytes": peak_mib * MIB, "load_s": 1.0, "cold_s": 2.0, "weights_bytes": 7}
    return Lane(recipe, [ms * sample for sample in NOISE], fell_out, facts)


BASELINE = trial_of(UNMODIFIED, 100.0)


class TestFinalists:
    def test_they_are_the_fastest_best_first(self) -> None:
        trials = [BASELINE, trial_of(BF16, 52), trial_of(TOME, 50), trial_of(INT8, 51), trial_of(BOTH, 53)]
        assert finalists(trials, TOLERANCE) == [TOME, INT8, BF16]
        assert FINALISTS == 3

    def test_one_that_was_far_behind_is_not_among_them(self) -> None:
        trials = [BASELINE, trial_of(BF16, 70), trial_of(TOME, 50), trial_of(INT8, 57)]
        assert finalists(trials, TOLERANCE) == [TOME, INT8]

    def test_what_is_not_faster_than_the_baseline_is_not_among_them(self) -> None:
        assert finalists([BASELINE, trial_of(BF16, 100), trial_of(TOME, 130)], TOLERANCE) == []

    def test_what_misses_the_quality_or_failed_is_not_among_them(self) -> None:
        trials = [
            BASELINE,
            trial_of(TOME, 30, quality=MISSED),
            trial_of(INT8, 40, outcome="slow"),
            trial_of(BOTH, None, outcome="crashed"),
            trial_of(BF16, 70, quality=GOOD),
        ]
        assert finalists(trials, TOLERANCE) == [BF16]

    def test_those_that_lost_already_make_room(self) -> None:
        trials = [BASELINE, trial_of(BF16, 70), trial_of(TOME, 50), trial_of(INT8, 60)]
        assert finalists(trials, TOLERANCE, without={TOME, INT8}) == [BF16]

    def test_without_a_baseline_nothing_is_faster_than_it(self) -> None:
        assert finalists([trial_of(BF16, 70)], TOLERANCE) == []
        assert finalists([trial_of(UNMODIFIED, None, outcome="crashed"), trial_of(BF16, 70)], TOLERANCE) == []
        assert finalists([], TOLERANCE) == []


def won(lanes: list[Lane], qualities: dict[Recipe, Quality | None], tolerance: float = TOLERANCE) -> Lane | None:
    found = winner(lanes, qualities, tolerance)
    return found[0] if found else None


class TestWinner:
    def test_the_fastest_wins(self) -> None:
        lanes = [lane_of(UNMODIFIED, 100), lane_of(BF16, 60), lane_of(TOME, 50)]
        assert won(lanes, {BF16: GOOD, TOME: GOOD}) is lanes[2]

    def test_one_that_misses_the_quality_loses(self) -> None:
        lanes = [lane_of(UNMODIFIED, 100), lane_of(BF16, 60), lane_of(TOME, 50)]
        assert won(lanes, {BF16: GOOD, TOME: MISSED}) is lanes[1]
        assert won(lanes, {BF16: MISSED, TOME: MISSED}) is None
        assert won(lanes, {BF16: MISSED, TOME: MISSED}, 0.02) is lanes[2]

    def test_where_quality_cannot_be_measured_it_is_no_obstacle(self) -> None:
        lanes = [lane_of(UNMODIFIED, 100), lane_of(BF16, 60)]
        assert won(lanes, {BF16: None}) is lanes[1]

    def test_one_that_is_faster_by_luck_alone_loses(self) -> None:
        baseline, lucky = lane_of(UNMODIFIED, 100), lane_of(BF16, 99)
        lucky.samples_ms = [108.0, 92.0, 107.0, 93.0, 105.0, 85.0, 100.0, 99.0]
        assert sum(lucky.samples_ms) < sum(baseline.samples_ms)
        assert won([baseline, lucky], {BF16: None}) is None

    def test_noise_that_slows_both_does_not_hide_a_small_gain(self) -> None:
        lanes = [lane_of(UNMODIFIED, 100), lane_of(BF16, 98)]
        assert won(lanes, {BF16: None}) is lanes[1]

    def test_one_that_is_slower_loses(self) -> None:
        assert won([lane_of(UNMODIFIED, 100), lane_of(BF16, 120)], {BF16: GOOD}) is None

    def test_what_is_said_of_ties_comes_with_it(self) -> None:
        lanes = [lane_of(UNMODIFIED, 100), lane_of(TOME, 50.0, 90), lane_of(INT8, 50.4, 80)]
        found = winner(lanes, {}, TOLERANCE)
        assert found
        assert found[0] is lanes[2]
        assert found[1].startswith("Tied with tome_ratio=0.5")

    def test_one_that_fell_out_half_way_loses_and_harms_nobody(self) -> None:
        fallen = lane_of(TOME, 20, fell_out="crashed: Segmentation fault.")
        del fallen.samples_ms[2:]
        lanes = [lane_of(UNMODIFIED, 100), fallen, lane_of(BF16, 60)]
        assert won(lanes, {BF16: GOOD}) is lanes[2]
        assert won(lanes[:2], {}) is None

    def test_one_that_never_ran_loses(self) -> None:
        never = Lane(TOME, [], "out_of_memory: It asked for 9 GiB.", {})
        assert won([lane_of(UNMODIFIED, 100), never], {}) is None


def test_lossy_knobs_are_counted() -> None:
    assert [lossiness(recipe) for recipe in (UNMODIFIED, BF16, TOME, BOTH)] == [0, 0, 1, 1]
    assert lossiness(Recipe(turned={"tome_ratio": 0.25, "quantization": "bnb_nf4"})) == 2


RECIPES = [Recipe(turned={"number": number}) for number in range(8)]
FIGURES = st.sampled_from([1.0, 2.0, 3.0, 4.0])
PEAKS_MIB = st.none() | st.sampled_from([0.0, 1.0, 2.0, 3.0])


@st.composite
def any_trials(draw: st.DrawFn) -> list[Trial]:
    """Trials that tie often, of which some failed, were not scored or did not tell their memory."""
    return [
        trial_of(
            recipe,
            draw(FIGURES),
            outcome=draw(st.sampled_from(["ok", "ok", "ok", "slow", "crashed"])),
            peak_mib=draw(PEAKS_MIB),
            quality=draw(
                st.none() | st.builds(quality_of, st.sampled_from([-0.5, 0.0]), st.sampled_from([29.9, 30.1]))
            ),
        )
        for recipe in RECIPES[: draw(st.integers(0, len(RECIPES)))]
    ]


def dominates(one: Trial, other: Trial) -> bool:
    """Return whether `one` is nowhere worse than `other` and somewhere better, said in another way than the code's."""

    def goods(trial: Trial) -> tuple[float, float, float]:
        peak_bytes = trial.peak_memory_bytes if trial.peak_memory_bytes is not None else 2**60
        gain = trial.quality.mean - trial.quality.baseline_mean if trial.quality else 0.0
        return -trial.median_ms, -peak_bytes, gain

    pairs = list(zip(goods(one), goods(other), strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@given(any_trials())
def test_the_front_is_what_nothing_dominates(trials: list[Trial]) -> None:
    found = front(trials, TOLERANCE)
    able = [trial for trial in trials if trial.feasible(TOLERANCE)]

    assert all(trial in able for trial in found)
    assert not [(a, b) for a in found for b in able if dominates(b, a)]
    for trial in able:
        assert trial in found or any(dominates(other, trial) for other in found)
    assert bool(found) is bool(able)


def test_a_plan_of_the_last_round_says_what_was_measured_there() -> None:
    baseline, lane = lane_of(UNMODIFIED, 100, 200), lane_of(BF16, 50, 80)
    plan = raced_plan(SCOPE, "run", lane, baseline, GOOD, ())

    assert plan.raced
    assert plan.speedup == pytest.approx(2.0)
    assert plan.speedup_low == pytest.approx(2.0)  # noise that both had is none
    assert plan.speedup_high == pytest.approx(2.0)
    assert plan.latency.samples_ms == tuple(lane.samples_ms)
    assert plan.baseline_latency.samples_ms == tuple(baseline.samples_ms)
    assert (plan.peak_memory_bytes, plan.baseline_peak_memory_bytes) == (80 * MIB, 200 * MIB)
    assert (plan.load_s, plan.cold_s) == (1.0, 2.0)
    assert (plan.quality, plan.scope, plan.run, plan.recipe) == (GOOD, SCOPE, "run", BF16)


class TestScreenedPlan:
    def test_a_faster_recipe_has_one(self) -> None:
        plan = screened_plan(SCOPE, "run", trial_of(BF16, 50, quality=GOOD), BASELINE)
        assert plan
        assert not plan.raced
        assert plan.speedup == pytest.approx(2.0)
        assert plan.quality == GOOD

    def test_a_slower_one_that_needs_much_less_memory_has_one(self) -> None:
        plan = screened_plan(SCOPE, "run", trial_of(INT8, 150, peak_mib=60), BASELINE)
        assert plan
        assert plan.speedup < 1

    def test_one_that_is_neither_has_none(self) -> None:
        assert screened_plan(SCOPE, "run", trial_of(INT8, 150, peak_mib=95), BASELINE) is None
        assert screened_plan(SCOPE, "run", trial_of(INT8, 100, peak_mib=100), BASELINE) is None

    def test_one_that_needs_no_memory_worth_measuring_has_one(self) -> None:
        plan = screened_plan(SCOPE, "run", trial_of(BF16, 50, peak_mib=0), BASELINE)
        assert plan
        assert plan.peak_memory_bytes == 0

    def test_each_call_is_compared_with_all_of_the_baselines(self) -> None:
        plan = screened_plan(SCOPE, "run", trial_of(BF16, 50, samples=NOISE[:2]), BASELINE)
        assert plan
        assert plan.speedup == pytest.approx(2.0, rel=0.1)
        assert plan.speedup_low > 1

    @pytest.mark.parametrize("broken", [{"ms": None}, {"ms": 50.0, "peak_mib": None}])
    def test_one_that_was_not_measured_has_none(self, broken: dict[str, Any]) -> None:
        assert screened_plan(SCOPE, "run", trial_of(BF16, **broken), BASELINE) is None
        assert screened_plan(SCOPE, "run", trial_of(BF16, 50), trial_of(UNMODIFIED, **broken)) is None


class TestGains:
    def test_a_knob_bought_the_latency_without_it_over_the_latency_with_it(self) -> None:
        trials = [BASELINE, trial_of(BOTH, 25), trial_of(BF16, 50), trial_of(TOME, 75)]
        gains = gains_of(BOTH, trials, EVERYTHING)

        assert [(gain.knob, gain.choice) for gain in gains] == [("precision", "bf16"), ("tome_ratio", "0.5")]
        assert [gain.slowdown_without for gain in gains] == [pytest.approx(3.0), pytest.approx(2.0)]

    def test_a_neighbour_that_failed_says_so(self) -> None:
        crashed = trial_of(UNMODIFIED, None, outcome="out_of_memory")
        [gain] = gains_of(BF16, [crashed, trial_of(BF16, 50)], EVERYTHING)
        assert (gain.slowdown_without, gain.note) == (None, "without it: out of memory")

    def test_a_neighbour_that_may_not_be_says_why(self) -> None:
        recipe = Recipe(turned={"compile": "openvino", "quantization": "nncf_int8"})
        first, second = gains_of(recipe, [trial_of(recipe, 50)], EVERYTHING)
        assert "only compile=openvino makes one" in first.note
        assert second.note == "not measured: no time was left"

    def test_the_unmodified_pipeline_gained_nothing(self) -> None:
        assert gains_of(UNMODIFIED, [BASELINE], EVERYTHING) == ()


def test_a_last_round_takes_what_its_runners_took() -> None:
    slow = trial_of(TOME, 500).model_copy(update={"load_s": 3.0, "cold_s": 1.0})
    failed = trial_of(BF16, None, outcome="crashed")
    for together, loads in ((True, 1), (False, 2)):
        alone_s = race_s([], [trial_of(UNMODIFIED, 1000)], together=together)
        assert race_s([TOME], [trial_of(UNMODIFIED, 1000), slow, failed], together=together) == pytest.approx(
            alone_s + loads * 4 + 8 * slow.median_ms / 1000
        )
    assert race_s([BF16], [failed], together=True) == 0


@pytest.mark.parametrize(("call_s", "rounds"), [(1, 8), (30, 8), (40, 6), (60, 4), (3600, 4)])
def test_a_last_round_of_long_calls_has_fewer_rounds(call_s: float, rounds: int) -> None:
    baseline = trial_of(UNMODIFIED, 1000 * call_s)
    assert race_s([], [baseline], together=True) == pytest.approx(
        baseline.ready_s + rounds * baseline.median_ms / 1000, rel=0.02
    )


def test_a_winner_is_confirmed_by_the_images_that_neither_its_trial_nor_a_short_last_round_made() -> None:
    scores = (30.0,) * 16
    seen = Quality(scorer="s", scores=scores, baseline_scores=scores, bound=0.0)
    baseline = trial_of(UNMODIFIED, 1000, quality=seen)
    slow = trial_of(TOME, 500, quality=seen.model_copy(update={"scores": scores[:8], "baseline_scores": scores[:8]}))
    expected = 2 * 3 + 8 * baseline.median_ms / 1000 + 16 * slow.median_ms / 1000
    assert confirming_s([TOME, BF16], [baseline, slow, trial_of(BF16, 400, quality=seen)], 32) == pytest.approx(
        expected
    )
    assert confirming_s([TOME], [baseline, slow], 16) == 0
    assert confirming_s([], [baseline, slow], 32) == 0
    assert confirming_s([TOME], [slow], 32) == 0


class Room(NamedTuple):
    """What is asked of a task: where it computes, and what may be taken there."""

    device: str
    device_limit_bytes: int | None
    machine: Machine = MACHINE


@pytest.mark.parametrize(
    ("limit_mib", "fits"),
    [(None, False), (200 + 512, False), (200 + 512 + 1, True), (10_000, True)],
)
def test_on_a_gpu_they_race_side_by_side_where_it_holds_them(limit_mib: int | None, *, fits: bool) -> None:
    trials = [BASELINE, trial_of(BF16, 50), trial_of(TOME, 10, peak_mib=9000)]
    room: Any = Room("cuda", None if limit_mib is None else limit_mib * MIB)
    assert fit_together({UNMODIFIED, BF16}, trials, room, 0) is fits
    waits, large = trial_of(Recipe(turned={"offload": "model"}), 90), room._replace(device_limit_bytes=2**40)
    assert not fit_together({UNMODIFIED, waits.recipe}, [BASELINE, waits], large, 0)


def test_on_a_cpu_they_race_side_by_side_where_the_ram_holds_them() -> None:
    free_bytes = MACHINE.memory.free_bytes
    room: Any = Room("cpu", None)
    assert fit_together({UNMODIFIED, BF16}, [BASELINE, trial_of(BF16, 50)], room, free_bytes - 201 * MIB)
    assert not fit_together({UNMODIFIED, BF16}, [BASELINE, trial_of(BF16, 50)], room, free_bytes - 200 * MIB)


def test_neighbours_are_what_is_untried_and_allowed() -> None:
    assert neighbours(BOTH, EVERYTHING, [BASELINE]) == [TOME, BF16]
    assert neighbours(BOTH, EVERYTHING, [trial_of(TOME, 1)]) == [BF16]
    assert neighbours(UNMODIFIED, EVERYTHING, []) == []
    openvino = Recipe(turned={"compile": "openvino"})
    with_nncf = Recipe(turned={"compile": "openvino", "quantization": "nncf_int8"})
    assert neighbours(with_nncf, EVERYTHING, []) == [openvino]
