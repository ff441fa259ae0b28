"""The answer: it fits if anything does, it is the fastest of what fits, and it says why, and what it cannot promise."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from autotune.errors import NoPlanError
from autotune.planner.choose import RESERVE_BYTES, Answer, Wish, choose, needs_bytes, said_bytes, said_environment
from autotune.probes.machine import Machine
from autotune.search.plan import Plan
from autotune.search.recipe import Recipe
from autotune.search.workload import Workload

from .. import strategies
from ..daemon.family import FAMILY, FAST, GIB, MACHINE, MIB, MIDDLE, SMALL, WORKLOAD, plan_of

PLENTY = 100 * GIB
NEEDED = "1.1 GiB"  # by the smallest of the family
DOUBT = "and may not fit."
FREE = st.integers(0, 12 * GIB)
LIMIT = st.none() | st.integers(0, 12 * GIB)


@st.composite
def families(draw: st.DrawFn, /, runs: tuple[str, ...] = ("run",), **scope: Any) -> list[Plan]:
    """Plans of any speed and size, those of one run together."""
    sizes = st.tuples(st.floats(1, 1e4), st.integers(0, 8 * GIB))
    members = [(run, member) for run in runs for member in draw(st.lists(sizes, min_size=1, max_size=6))]
    return [plan_of(f"p{n}", ms=ms, peak_bytes=peak, run=run, **scope) for n, (run, (ms, peak)) in enumerate(members)]


@st.composite
def mixtures(draw: st.DrawFn) -> list[Plan]:
    """Plans of one workload from several runs, of which some are stale in one way or another."""
    found: list[Plan] = []
    for number in range(draw(st.integers(1, 4))):
        scope = {
            "machine": draw(st.sampled_from((MACHINE.fingerprint, "elsewhere"))),
            "software": draw(st.sampled_from((MACHINE.software.key, "earlier"))),
            "revision": draw(st.sampled_from(("0123", "4567"))),
        }
        found += draw(families(runs=(f"run {number}",), **scope))
    return found


def fitting(plans: list[Plan], free_bytes: int, limit: int | None = None) -> list[Plan]:
    room = free_bytes if limit is None else min(free_bytes, limit)
    return [plan for plan in plans if needs_bytes(plan) <= room]


@given(plans=families(), free_bytes=FREE, limit=LIMIT)
def test_it_is_the_fastest_that_fits(plans: list[Plan], free_bytes: int, limit: int | None) -> None:
    answer = choose(plans, MACHINE, free_bytes, max_memory_bytes=limit)
    fit = fitting(plans, free_bytes, limit)
    assert answer.fits is bool(fit)
    assert answer.fits is (answer.plan in fit)
    if fit:
        assert answer.plan.latency.median_ms == min(plan.latency.median_ms for plan in fit)
    else:
        assert answer.needs_bytes == min(map(needs_bytes, plans))


@given(plans=mixtures(), free_bytes=FREE)
def test_it_fits_if_any_fits_however_stale(plans: list[Plan], free_bytes: int) -> None:
    assert choose(plans, MACHINE, free_bytes, "0123").fits is bool(fitting(plans, free_bytes))


@given(plans=families(), less=FREE, more=FREE)
def test_more_memory_never_gives_a_slower_plan(plans: list[Plan], less: int, more: int) -> None:
    less, more = sorted((less, more))
    with_less, with_more = (choose(plans, MACHINE, free) for free in (less, more))
    if with_less.fits:
        assert with_more.plan.latency.median_ms <= with_less.plan.latency.median_ms


@given(plans=mixtures(), less=FREE, more=FREE)
def test_more_memory_never_gives_a_staler_plan(plans: list[Plan], less: int, more: int) -> None:
    less, more = sorted((less, more))
    with_less, with_more = (choose(plans, MACHINE, free, "0123") for free in (less, more))
    if with_less.fits:
        assert with_more.stale <= with_less.stale
        same_run = with_more.plan.run == with_less.plan.run
        assert not same_run or with_more.plan.latency.median_ms <= with_less.plan.latency.median_ms


def test_the_winner_of_the_last_round_is_not_beaten_by_a_latency_of_a_quieter_hour() -> None:
    raced = plan_of("bf16", ms=552.0, peak_bytes=2 * GIB)
    screened = plan_of("fp32", ms=527.0, peak_bytes=GIB).model_copy(update={"raced": False, "speedup": 9.0})
    slower = plan_of("fp16", ms=526.0, peak_bytes=GIB).model_copy(update={"raced": False, "speedup": 8.0})
    answer = choose([slower, screened, raced], MACHINE, PLENTY)
    assert answer.plan == raced
    assert answer.safer
    assert answer.safer.recipe == screened.recipe
    assert choose([slower, screened, raced], MACHINE, 2 * GIB).plan == screened


@given(plans=families(runs=("new", "old")), free_bytes=FREE)
def test_the_order_within_a_run_does_not_matter(plans: list[Plan], free_bytes: int) -> None:
    turned = [*reversed([p for p in plans if p.run == "new"]), *reversed([p for p in plans if p.run == "old"])]
    assert choose(plans, MACHINE, free_bytes) == choose(turned, MACHINE, free_bytes)


@given(plans=families(runs=("new", "old")))
def test_a_newer_run_goes_before_an_older_one(plans: list[Plan]) -> None:
    assert choose(plans, MACHINE, PLENTY).plan.run == "new"


@given(plans=families(), free_bytes=FREE)
def test_safer_needs_less_and_is_the_fastest_of_those(plans: list[Plan], free_bytes: int) -> None:
    answer = choose(plans, MACHINE, free_bytes)
    smaller = {plan.id: plan for plan in plans if needs_bytes(plan) < answer.needs_bytes}
    if answer.safer is None:
        assert not smaller
    else:
        plan = smaller[answer.safer.id]
        assert (answer.safer.recipe, answer.safer.needs_bytes) == (plan.recipe, needs_bytes(plan))
        assert plan.latency.median_ms == min(each.latency.median_ms for each in smaller.values())


@given(plan=strategies.plans(), machine=strategies.machines(), free_bytes=strategies.BYTES)
def test_an_answer_survives_the_wire(plan: Plan, machine: Machine, free_bytes: int) -> None:
    answer = choose([plan], machine, free_bytes)
    assert Answer.model_validate_json(answer.model_dump_json()) == answer


@pytest.mark.parametrize("peak_bytes", [0, GIB, 100 * GIB])
def test_a_plan_needs_its_peak_and_a_reserve(peak_bytes: int) -> None:
    need = needs_bytes(plan_of(peak_bytes=peak_bytes))
    assert need >= peak_bytes + RESERVE_BYTES
    assert need >= 1.05 * peak_bytes - 1
    assert choose([plan_of(peak_bytes=peak_bytes)], MACHINE, need).fits
    assert not choose([plan_of(peak_bytes=peak_bytes)], MACHINE, need - 1).fits


@pytest.mark.parametrize(
    ("plans", "free_bytes", "limit", "reason"),
    [
        (FAMILY, int(3.2 * GIB), None, "Fastest of 3 plans that fits the 3.2 GiB of memory that are free now."),
        (FAMILY, PLENTY, 3 * GIB, "Fastest of 3 plans that fits the 3.0 GiB of memory that it may use."),
        (FAMILY, 3 * GIB, PLENTY, "Fastest of 3 plans that fits the 3.0 GiB of memory that are free now."),
        ([SMALL], PLENTY, None, "The only plan, and it fits the 100.0 GiB of memory that are free now."),
        (
            FAMILY,
            96 * MIB,
            None,
            f"None of 3 plans fits the 96 MiB of memory that are free now: this one needs least, {NEEDED}, {DOUBT}",
        ),
        (
            [SMALL],
            0,
            None,
            f"The only plan; it needs {NEEDED}, more than the 0 MiB of memory that are free now, {DOUBT}",
        ),
    ],
)
def test_the_reason_is_a_sentence(plans: list[Plan], free_bytes: int, limit: int | None, reason: str) -> None:
    assert choose(plans, MACHINE, free_bytes, max_memory_bytes=limit).reason == reason


def test_a_fresh_answer_says_what_to_do_and_nothing_to_worry_about() -> None:
    answer = choose(FAMILY, MACHINE, 3 * GIB, revision="0123", workload=WORKLOAD)
    assert answer.plan == MIDDLE
    assert answer.call == {"num_inference_steps": 20, "guidance_scale": 4.0, "width": 128, "height": 128}
    assert answer.apply == {"precision": "int8"}
    assert (answer.known, answer.stale, answer.stale_reasons, answer.asked) == ("measured", False, (), "")
    assert answer.safer is not None
    assert answer.safer.recipe == SMALL.recipe


# What has changed


def changed(**parts: Any) -> Machine:
    """Return the machine with other parts: a dict changes fields of that part, anything else replaces it."""
    update = {
        name: getattr(MACHINE, name).model_copy(update=part) if isinstance(part, dict) else part
        for name, part in parts.items()
    }
    return MACHINE.model_copy(update=update)


def with_gpu(**fields: Any) -> Machine:
    return changed(accelerators=(MACHINE.accelerators[0].model_copy(update=fields),))


def with_version(**versions: str) -> Machine:
    return changed(software={"versions": {**MACHINE.software.versions, **versions}})


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (with_version(torch="2.14.0"), "torch 2.13.0 -> 2.14.0"),
        (with_version(diffusers="0.43.0"), "diffusers 0.42.1 -> 0.43.0"),
        (with_version(torchao="0.18.0"), "torchao nothing -> 0.18.0"),
        (changed(software={"versions": {"torch": "2.13.0"}}), "diffusers 0.42.1 -> nothing"),
        (changed(software={"python": "3.12.1"}), "python 3.11.7 -> 3.12.1"),
        (changed(software={"os": "Debian GNU/Linux 13"}), "os Debian GNU/Linux 12 -> Debian GNU/Linux 13"),
        (with_gpu(driver="560.28"), "accelerators 0 driver 550.54 -> 560.28"),
        (with_gpu(mig=True), "accelerators 0 mig False -> True"),
        (changed(cpu={"allowed_cores": 2}), "cpu allowed_cores 4 -> 2"),
        (changed(cpu={"features": ("avx2",)}), "cpu features avx2 avx512f -> avx2"),
        (changed(memory={"total_bytes": 32 * GIB}), "memory total_gib 64 -> 32"),
        (with_gpu(uuid_hash="ffff"), "machine AMD EPYC with A100 -> AMD EPYC with A100"),
        (with_gpu(name="H100"), "machine AMD EPYC with A100 -> AMD EPYC with H100"),
        (changed(accelerators=()), "machine AMD EPYC with A100 -> AMD EPYC"),
        (changed(cpu={"model_name": "Xeon"}), "machine AMD EPYC with A100 -> Xeon with A100"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_change_is_named(machine: Machine, reason: str) -> None:
    answer = choose(FAMILY, machine, PLENTY, past={MACHINE.fingerprint: MACHINE})
    assert answer.stale
    assert answer.stale_reasons == (reason,)
    assert answer.known == ("borrowed" if reason.startswith("machine") else "measured")


def test_what_is_of_the_moment_makes_nothing_stale() -> None:
    machine = with_gpu(free_bytes=0).model_copy(update={"notes": ("NVML is slow today.",)})
    machine = machine.model_copy(update={"memory": MACHINE.memory.model_copy(update={"free_bytes": 0})})
    assert not choose(FAMILY, machine, PLENTY).stale


def test_a_change_is_told_though_nobody_remembers_how_it_was() -> None:
    machine = with_version(torch="2.14.0").model_copy(update={"accelerators": ()})
    keys = f"software {MACHINE.software.key} -> {machine.software.key}"
    answer = choose(FAMILY, machine, PLENTY)
    assert answer.stale_reasons == (f"machine {MACHINE.fingerprint} -> AMD EPYC", keys)
    assert answer.known == "borrowed"
    # the machine was upgraded twice, and only the second time was kept
    past = {MACHINE.fingerprint: with_version(torch="2.13.5")}
    assert choose(FAMILY, with_version(torch="2.14.0"), PLENTY, past=past).stale_reasons == (keys,)


def test_another_revision_of_the_model_is_told_if_it_was_asked() -> None:
    assert choose(FAMILY, MACHINE, PLENTY, revision="4567").stale_reasons == ("model revision 0123 -> 4567",)
    assert not choose(FAMILY, MACHINE, PLENTY).stale


@pytest.mark.parametrize("scope", [{"software": "earlier"}, {"revision": "earlier"}, {"machine": "elsewhere"}])
def test_a_slower_plan_goes_before_a_faster_one_that_is_stale(scope: dict[str, Any]) -> None:
    stale = plan_of("stale", ms=1.0, run="newest", **scope)
    answer = choose([stale, *FAMILY], MACHINE, PLENTY, "0123")
    assert (answer.plan, answer.stale) == (FAST, False)
    assert choose([stale, *FAMILY], MACHINE, GIB, "0123").plan in {stale, SMALL}


# What is asked

LARGE = Workload(width=512, height=512, steps=20, guidance=4.0)


@pytest.mark.parametrize(
    ("wish", "tuned"),
    [
        (Wish(width=500, height=512), LARGE),
        (Wish(width=1024), LARGE),
        (Wish(width=96), WORKLOAD),
        (Wish(width=255, height=255), WORKLOAD),
        (Wish(width=257, height=257), LARGE),
        (LARGE, LARGE),
        (WORKLOAD, WORKLOAD),
        (None, LARGE),
        (Wish(steps=3), LARGE),
    ],
)
def test_the_nearest_workload_answers_and_else_the_newest(wish: Wish | Workload | None, tuned: Workload) -> None:
    large = plan_of("bf16", ms=900.0, peak_bytes=8 * GIB, run="new", workload=LARGE)
    for free_bytes in (0, PLENTY):  # too little memory is no reason to make smaller images
        assert choose([large, *FAMILY], MACHINE, free_bytes, workload=wish).plan.scope.workload == tuned


def test_a_difference_to_what_was_tuned_is_said_and_called() -> None:
    answer = choose(FAMILY, MACHINE, PLENTY, workload=Wish(width=256, height=192, steps=8, batch=2))
    assert answer.call == {"num_inference_steps": 8, "guidance_scale": 4.0, "width": 256, "height": 192}
    assert answer.asked == (
        "You asked for 256x192, 8 steps, guidance 4, batch 2, and this was tuned for 128x128, 20 steps, guidance 4: "
        "time and memory were not measured for what you asked; "
        "`autotune --model shapes --size 256x192 --steps 8 --batch 2` does that."
    )
    assert answer.known == "borrowed"
    assert not answer.stale


def test_another_guidance_is_a_difference_too() -> None:
    cfg_free = plan_of("bf16", workload=WORKLOAD.model_copy(update={"guidance": 0.0}), run="newer")
    assert choose([cfg_free, *FAMILY], MACHINE, PLENTY, workload=Wish(guidance=4.0)).plan == FAST
    assert choose([cfg_free, *FAMILY], MACHINE, PLENTY, workload=Wish(guidance=0.0)).plan == cfg_free
    assert choose(FAMILY, MACHINE, PLENTY, workload=Wish(guidance=0.0)).call["guidance_scale"] == 0


@given(wish=st.builds(Wish, width=st.none() | st.integers(8, 9999), batch=st.none() | st.integers(1, 99)))
def test_what_is_asked_is_at_no_distance_from_itself(wish: Wish) -> None:
    assert wish.distance(wish.over(WORKLOAD)) == 0
    assert wish.distance(WORKLOAD) >= 0


# Devices


def test_each_device_has_memory_of_its_own() -> None:
    on_gpu = plan_of("fp16", ms=1.0, peak_bytes=8 * GIB, device="cuda")
    on_second = plan_of("fp16", ms=0.5, peak_bytes=GIB, device="cuda:1")
    plans = [on_gpu, on_second, *FAMILY]
    assert choose(plans, MACHINE, {"cpu": PLENTY, "cuda:0": 16 * GIB}).plan == on_gpu
    assert choose(plans, MACHINE, {"cpu": PLENTY, "cuda:0": GIB}).plan == FAST
    assert choose(plans, MACHINE, {"cpu": PLENTY, "cuda:0": GIB, "cuda:1": 2 * GIB}).free_bytes == 2 * GIB
    assert choose(plans, MACHINE, {"cpu": 0}).plan == SMALL


def test_no_plan_is_given_for_a_device_that_is_not_here() -> None:
    with pytest.raises(
        NoPlanError, match=r"for shapes is for cuda, and no such device is seen.*autotune --model shapes"
    ):
        choose([plan_of(device="cuda")], MACHINE, {"cpu": PLENTY})


def test_a_plan_from_made_up_weights_is_given_to_nobody() -> None:
    made_up = plan_of(ms=1.0, weights="random", revision="other")
    assert choose([made_up, plan_of(ms=90.0)], MACHINE, PLENTY).plan.scope.weights == ""
    with pytest.raises(NoPlanError, match="There is no plan yet"):
        choose([made_up], MACHINE, PLENTY)


def test_without_plans_it_says_what_to_run() -> None:
    with pytest.raises(NoPlanError, match=r"There is no plan yet: run `autotune --model NAME`\."):
        choose([], MACHINE, PLENTY)


# The value


def contradict(field: str, value: Any) -> Callable[[], Answer]:
    content = choose(FAMILY, MACHINE, PLENTY).model_dump() | {field: value}
    return lambda: Answer.model_validate(content)


@pytest.mark.parametrize(
    ("field", "value"),
    [("apply", {"precision": "fp4"}), ("model", "flux"), ("stale", True), ("stale_reasons", ("torch",)), ("extra", 1)],
)
def test_an_answer_that_contradicts_itself_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        contradict(field, value)()


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 MiB"), (MIB, "1 MiB"), (GIB, "1.0 GiB"), (int(3.24 * GIB), "3.2 GiB")]
)
def test_bytes_are_said_for_people(count: int, text: str) -> None:
    assert said_bytes(count) == text
    assert re.fullmatch(r"[0-9.]+ [MG]iB", text)


def test_the_answer_says_what_a_program_must_be_started_with() -> None:
    plain = plan_of("bf16")
    recipe = Recipe(turned={"precision": "bf16", "allocator": "jemalloc", "huge_pages": True})
    answer = choose([plain.model_copy(update={"recipe": recipe})], MACHINE, PLENTY)
    assert said_environment(answer.environment).endswith("libjemalloc.so.2 THP_MEM_ALLOC_ENABLE=1")
    assert choose([plain], MACHINE, PLENTY).environment == {}
