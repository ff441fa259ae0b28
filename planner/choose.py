"""The answer: of the plans that there are, the fastest that fits the memory that is free at this moment, and why.

Nothing is read or asked here: plans, machine and free memory are handed in, so the same question has the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ..errors import NoPlanError, UsageError
from ..probes.machine import Machine
from ..search.assemble import environment, workload_of
from ..search.pipeline import call_arguments
from ..search.plan import SCHEMA_VERSION, Plan
from ..search.recipe import Choice, Recipe
from ..search.workload import Workload
from ..value import Value
from .lived import Lived
from .stale import changed, reasons, same_hardware

NEVER_RUN = Lived()

RESERVE_BYTES = 128 * 2**20
"""What is kept free beside a plan's measured peak, at least: peaks differ from call to call."""
RESERVE_SHARE = 20
"""Of a large plan this part of its peak is kept free: 1/20, because fragments grow with what they are pieces of."""

FreeBytes = int | Mapping[str, int]
"""Bytes that can be taken now: by device ("cpu", "cuda:0"), or one figure for whatever device a plan is for."""

_COUNTED = ("width", "height", "steps", "batch", "frames")


class Wish(Value):
    """What is asked of a plan. What is not said may be as it was tuned."""

    width: int | None = Field(default=None, ge=8)
    height: int | None = Field(default=None, ge=8)
    steps: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0)
    batch: int | None = Field(default=None, ge=1)
    frames: int | None = Field(default=None, ge=1)

    def over(self, tuned: Workload) -> Workload:
        """Return `tuned` with what was asked in place of it."""
        return tuned.model_copy(update=self.model_dump(exclude_none=True))

    def distance(self, tuned: Workload) -> float:
        """Return how far `tuned` is from what is asked: 0 where it is just that, 1 for twice or half of one thing."""
        said: dict[str, float] = self.model_dump(exclude_none=True)
        doublings = (abs(math.log2(said[name] / getattr(tuned, name))) for name in _COUNTED if name in said)
        return sum(doublings) + 0.1 * (said.get("guidance", tuned.guidance) != tuned.guidance)


def wish_of(**workload: float | None) -> Wish:
    """Return the wish for what is said of a workload. Raises UsageError for what cannot be meant."""
    try:
        return Wish(**workload)  # type: ignore[arg-type]  # checked by pydantic, which says what is wrong
    except ValidationError as error:
        wrong = error.errors()[0]
        given = f"{wrong['loc'][0]}={wrong['input']!r}"
        msg = f"The workload takes {', '.join(Wish.model_fields)}, and {given} was given: {wrong['msg']}."
        raise UsageError(msg) from error


class Safer(Value):
    """The plan to fall back on when the memory does not suffice after all."""

    id: str
    recipe: Recipe
    needs_bytes: int


class Answer(Value):
    """The plan for now, and why it is this one.

    `known` is `measured` only for a plan that was measured on this machine, for the workload that was asked.
    `stale_reasons` name what has changed since it was measured, `asked` says how the workload differs (or is empty).
    `needs_bytes` is the plan's peak with a reserve, `free_bytes` what its device has free, and `fits` whether the one
    goes into the other (and into the limit that was asked). `call` are keyword arguments for the pipeline's call,
    `apply` is the recipe as JSON, `environment` what the program must be started with for all of it to be applied.
    `demoted` are sentences on plans that would have been faster or smaller, and have failed in apps. `job` is what to
    post to `/v1/jobs` to have measured what was asked, where it was not or is stale.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    plan: Plan
    reason: str
    known: Literal["measured", "borrowed", "predicted"]
    stale: bool
    stale_reasons: tuple[str, ...] = ()
    fits: bool
    needs_bytes: int
    free_bytes: int
    safer: Safer | None = None
    asked: str = ""
    call: dict[str, int | float]
    apply: dict[str, Choice]
    environment: dict[str, str] = {}
    demoted: tuple[str, ...] = ()
    job: dict[str, str | int | float] = {}

    @model_validator(mode="after")
    def _of_one_piece(self) -> Self:
        if self.apply != self.plan.recipe.turned or self.model != self.plan.scope.model:
            msg = f"The answer for {self.model} says one thing, and the plan in it another."
            raise ValueError(msg)
        if self.stale is not bool(self.stale_reasons):
            msg = f"The plan is said to be {'stale' * self.stale or 'fresh'}, against the reasons that are given."
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class _Candidate:
    """A plan beside the memory that its device has for it; `run` is the place of its run, 0 for the newest.

    `id` is the plan's, which takes a moment to work out.
    """

    plan: Plan
    id: str
    run: int
    free_bytes: int
    limit_bytes: int
    lived: Lived

    @property
    def needs_bytes(self) -> int:
        return needs_bytes(self.plan, self.lived)

    @property
    def fits(self) -> bool:
        return self.needs_bytes <= self.limit_bytes

    @property
    def speed(self) -> tuple[tuple[bool, float, float], int, str]:
        """The faster the earlier, by what the run was for; of equal ones that which needs less."""
        return slowness(self.plan), self.needs_bytes, self.id


def slowness(plan: Plan) -> tuple[bool, float, float]:
    """Return what puts the plans of one run in order, the fastest first.

    One that won the last round comes first. Others are compared by the speed-up: a latency of another hour of the same
    run, in which the baseline was faster too, says less.
    """
    return not plan.raced, 1 / plan.speedup, plan.latency.median_ms


def needs_bytes(plan: Plan, lived: Lived = NEVER_RUN) -> int:
    """Return the memory that must be free for a plan: its peak, and a reserve. lived: what it took in apps."""
    peak_bytes = max(plan.peak_memory_bytes, lived.peak_bytes)
    return max(with_reserve(peak_bytes), lived.short_bytes + 1 if lived.short_bytes else 0)


def with_reserve(peak_bytes: int) -> int:
    """Return what must be free for a peak of memory."""
    return peak_bytes + max(RESERVE_BYTES, peak_bytes // RESERVE_SHARE)


def choose(  # noqa: PLR0913 - so many things decide, and each is known to somebody else
    plans: Sequence[Plan],
    machine: Machine,
    free_bytes: FreeBytes,
    revision: str | None = None,
    workload: Workload | Wish | None = None,
    max_memory_bytes: int | None = None,
    *,
    past: Mapping[str, Machine] | None = None,
    lives: Mapping[str, Lived] | None = None,
) -> Answer:
    """Return the fastest plan that fits into what is free now; if none fits, the one that needs least, and says so.

    plans: all of one model, those of the newest run first. One from made-up weights is for no app: `autotune --model`
    tries its recipe when the weights are there. Only plans for one workload compete: the one that is
    nearest to what is asked. Of those that fit, one for this machine, revision and software goes before one that is
    stale, and a newer run before an older one: latencies of different runs are not compared. Of one run that which won
    the last round goes first, then the others by their speed-ups.
    revision: the model's, as it is now; None does not ask.
    workload: what the pipeline will be called with; None is what was tuned last.
    max_memory_bytes: take no more than this, even if more is free.
    past: machines by their fingerprints, as they were when plans were measured: to say what has changed.
    lives: what apps have said of plans, by their ids; one that failed them is not given.

    Raises NoPlanError if there is no plan, none that may be given, or none for a device that is here.
    """
    lives = lives or {}
    wish = workload if isinstance(workload, Wish) else Wish(**workload.model_dump()) if workload else Wish()
    kept = _undemoted([plan for plan in plans if not plan.scope.weights], lives)
    candidates = _candidates(kept, free_bytes, max_memory_bytes, lives)
    tuned = min(candidates, key=lambda each: _nearness(each, wish, machine, revision)).plan.scope.workload
    pool = [each for each in candidates if each.plan.scope.workload == tuned]
    chosen = _best(pool, machine, revision)
    family = [each for each in pool if each.run == chosen.run]
    wanted = wish.over(tuned)
    scope = chosen.plan.scope
    before = (past or {}).get(scope.machine)
    stale_reasons = tuple(reasons(chosen.plan, machine, revision, before))
    here = scope.machine == machine.fingerprint or (before is not None and same_hardware(before, machine))
    borrowed = not here or wanted != tuned
    return Answer(
        model=scope.model,
        plan=chosen.plan,
        reason=_reason(chosen, family, max_memory_bytes),
        known="borrowed" if borrowed and chosen.plan.known == "measured" else chosen.plan.known,
        stale=bool(stale_reasons),
        stale_reasons=stale_reasons,
        fits=chosen.fits,
        needs_bytes=chosen.needs_bytes,
        free_bytes=chosen.free_bytes,
        safer=_safer(chosen, family),
        asked=_note(scope.model, wanted, tuned),
        call=call_arguments(workload_of(chosen.plan.recipe, wanted), scope.pipeline_class),
        apply=chosen.plan.recipe.turned,
        environment=environment(chosen.plan.recipe, machine.software),
        demoted=tuple(_demotion(plan, lives) for plan in plans if plan not in kept and plan.scope == scope),
    )


def said_environment(environment: Mapping[str, str]) -> str:
    """Return variables as a shell takes them: `LD_PRELOAD=/usr/lib/libjemalloc.so.2`."""
    return " ".join(f"{name}={value}" for name, value in environment.items())


def said_bytes(count: int) -> str:
    """Return a number of bytes for people: `3.2 GiB`, `96 MiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _candidates(
    plans: Sequence[Plan], free_bytes: FreeBytes, max_memory_bytes: int | None, lives: Mapping[str, Lived]
) -> list[_Candidate]:
    """Return the plans whose device is here, each with its memory. Raises NoPlanError if there is none."""
    if not plans:
        raise NoPlanError("There is no plan yet: run `autotune --model NAME`.")
    runs = {run: place for place, run in enumerate(dict.fromkeys(plan.run for plan in plans))}
    candidates = []
    for plan in plans:
        free = _free_on(plan.scope.device, free_bytes)
        if free is not None:
            limit = free if max_memory_bytes is None else min(free, max_memory_bytes)
            name = plan.id
            candidates.append(_Candidate(plan, name, runs[plan.run], free, limit, lives.get(name, NEVER_RUN)))
    if not candidates:
        devices = " or ".join(sorted({plan.scope.device for plan in plans}))
        model = plans[0].scope.model
        raise NoPlanError(
            f"Every plan for {model} is for {devices}, and no such device is seen here now: "
            f"see what `autotune probe` says of it, or run `autotune --model {model}`."
        )
    return candidates


def _best(pool: list[_Candidate], machine: Machine, revision: str | None) -> _Candidate:
    best = min((each for each in pool if each.fits), key=lambda each: _rank(each, machine, revision), default=None)
    return best or min(pool, key=lambda each: (each.needs_bytes, *_rank(each, machine, revision)))


def only(plans: Sequence[Plan], min_quality: float | None, device: str | None) -> list[Plan]:
    """Return the plans of a device that surely keep a share of the baseline's score, such as 0.99; None asks nothing.

    Raises NoPlanError if there are plans, and none of them is such a one.
    """
    found = [plan for plan in plans if device is None or _numbered(plan.scope.device) == _numbered(device)]
    if plans and not found:
        devices = " and ".join(sorted({plan.scope.device for plan in plans}))
        raise NoPlanError(f"There are plans for {plans[0].scope.model} on {devices}, and none on {device}.")
    if min_quality is None:
        return found
    good = [plan for plan in found if _kept_quality(plan) >= min_quality]
    if found and not good:
        best = max(map(_kept_quality, found))
        known = f"the best keeps {best:.4f}" if best else "of none of them the quality was measured"
        raise NoPlanError(
            f"No plan for {found[0].scope.model} surely keeps {min_quality:g} of the baseline's score ({known}): "
            f"ask for less, or tune with `--tolerance {max(0.0, 1 - min_quality):.2%}`."
        )
    return good


def _numbered(device: str) -> str:
    return device if device == "cpu" or ":" in device else f"{device}:0"


def _kept_quality(plan: Plan) -> float:
    """Return the share of the baseline's score that a plan keeps at least, 0 where that was not measured."""
    quality = plan.quality
    return 1 + quality.bound / quality.baseline_mean if quality and quality.baseline_mean else 0.0


def _undemoted(plans: list[Plan], lives: Mapping[str, Lived]) -> list[Plan]:
    """Return the plans that did not fail in apps. Raises NoPlanError if there were some, and all did."""
    kept = [plan for plan in plans if not lives.get(plan.id, NEVER_RUN).demoted] if lives else plans
    if plans and not kept:
        model, failed = plans[0].scope.model, " ".join(_demotion(plan, lives) for plan in plans[:3])
        raise NoPlanError(
            f"{failed} There is no other plan: use {model} unmodified, "
            f"or measure again with `autotune --model {model} --fresh`."
        )
    return kept


def _demotion(plan: Plan, lives: Mapping[str, Lived]) -> str:
    return f"{plan.recipe} is not given: it {lives[plan.id].demoted}."


def _free_on(device: str, free_bytes: FreeBytes) -> int | None:
    if isinstance(free_bytes, int):
        return free_bytes
    return free_bytes.get(device, free_bytes.get(f"{device}:0"))


def _nearness(candidate: _Candidate, wish: Wish, machine: Machine, revision: str | None) -> tuple[Any, ...]:
    return wish.distance(candidate.plan.scope.workload), *changed(candidate.plan, machine, revision), candidate.run


def _rank(candidate: _Candidate, machine: Machine, revision: str | None) -> tuple[Any, ...]:
    return *changed(candidate.plan, machine, revision), candidate.run, *candidate.speed


def _safer(chosen: _Candidate, family: list[_Candidate]) -> Safer | None:
    smaller = [each for each in family if each.needs_bytes < chosen.needs_bytes]
    if not smaller:
        return None
    best = min(smaller, key=lambda each: each.speed)
    return Safer(id=best.id, recipe=best.plan.recipe, needs_bytes=best.needs_bytes)


def _reason(chosen: _Candidate, family: list[_Candidate], max_memory_bytes: int | None) -> str:
    limited = max_memory_bytes is not None and max_memory_bytes < chosen.free_bytes
    room = f"{said_bytes(chosen.limit_bytes)} of memory that {'it may use' if limited else 'are free now'}"
    if chosen.fits:
        which = "The only plan, and it" if len(family) == 1 else f"Fastest of {len(family)} plans that"
        return f"{which} fits the {room}."
    needed = said_bytes(chosen.needs_bytes)
    if len(family) == 1:
        return f"The only plan; it needs {needed}, more than the {room}, and may not fit."
    return f"None of {len(family)} plans fits the {room}: this one needs least, {needed}, and may not fit."


def _note(model: str, wanted: Workload, tuned: Workload) -> str:
    if wanted == tuned:
        return ""
    flags = [f"--size {wanted.width}x{wanted.height}", f"--steps {wanted.steps}"]
    flags += [f"--batch {wanted.batch}"] * (wanted.batch != tuned.batch)
    return (
        f"You asked for {wanted}, and this was tuned for {tuned}: time and memory were not measured for what you "
        f"asked; `autotune --model {model} {' '.join(flags)}` does that."
    )
