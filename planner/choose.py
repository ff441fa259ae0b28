"""The answer: of the plans that there are, the fastest that fits the memory that is free at this moment, and why.

Nothing is read or asked here: plans, machine and free memory are handed in, so the same question has the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
    """A plan beside the memory that its device has for it; `run` is the place of its run, 0 for the newest."""

    plan: Plan
    run: int
    free_bytes: int
    limit_bytes: int

    @property
    def needs_bytes(self) -> int:
        return needs_bytes(self.plan)

    @property
    def fits(self) -> bool:
        return self.needs_bytes <= self.limit_bytes

    @property
    def speed(self) -> tuple[float, int, str]:
        """The faster the earlier; of equally fast ones that which needs less."""
        return self.plan.latency.median_ms, self.needs_bytes, self.plan.id


def needs_bytes(plan: Plan) -> int:
    """Return the memory that must be free for a plan: its measured peak, and a reserve."""
    return plan.peak_memory_bytes + max(RESERVE_BYTES, plan.peak_memory_bytes // RESERVE_SHARE)


def choose(  # noqa: PLR0913 - so many things decide, and each is known to somebody else
    plans: Sequence[Plan],
    machine: Machine,
    free_bytes: FreeBytes,
    revision: str | None = None,
    workload: Workload | Wish | None = None,
    max_memory_bytes: int | None = None,
    *,
    past: Mapping[str, Machine] | None = None,
) -> Answer:
    """Return the fastest plan that fits into what is free now; if none fits, the one that needs least, and says so.

    plans: all of one model, those of the newest run first. One from made-up weights is for no app: `autotune --model`
    tries its recipe when the weights are there. Only plans for one workload compete: the one that is
    nearest to what is asked. Of those that fit, one for this machine, revision and software goes before one that is
    stale, and a newer run before an older one: latencies of different runs are not compared.
    revision: the model's, as it is now; None does not ask.
    workload: what the pipeline will be called with; None is what was tuned last.
    max_memory_bytes: take no more than this, even if more is free.
    past: machines by their fingerprints, as they were when plans were measured: to say what has changed.

    Raises NoPlanError if there is no plan, or none for a device that is here.
    """
    wish = workload if isinstance(workload, Wish) else Wish(**workload.model_dump()) if workload else Wish()
    candidates = _candidates([plan for plan in plans if not plan.scope.weights], free_bytes, max_memory_bytes)
    tuned = min(candidates, key=lambda each: _nearness(each, wish, machine, revision)).plan.scope.workload
    pool = [each for each in candidates if each.plan.scope.workload == tuned]
    best = min((each for each in pool if each.fits), key=lambda each: _rank(each, machine, revision), default=None)
    chosen = best or min(pool, key=lambda each: (each.needs_bytes, *_rank(each, machine, revision)))
    family = [each for each in pool if each.run == chosen.run]
    wanted = wish.over(tuned)
    scope = chosen.plan.scope
    before = (past or {}).get(scope.machine)
    stale_reasons = tuple(_stale_reasons(chosen.plan, machine, revision, before))
    here = scope.machine == machine.fingerprint or (before is not None and _same_hardware(before, machine))
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
    )


def said_environment(environment: Mapping[str, str]) -> str:
    """Return variables as a shell takes them: `LD_PRELOAD=/usr/lib/libjemalloc.so.2`."""
    return " ".join(f"{name}={value}" for name, value in environment.items())


def said_bytes(count: int) -> str:
    """Return a number of bytes for people: `3.2 GiB`, `96 MiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _candidates(plans: Sequence[Plan], free_bytes: FreeBytes, max_memory_bytes: int | None) -> list[_Candidate]:
    """Return the plans whose device is here, each with its memory. Raises NoPlanError if there is none."""
    if not plans:
        raise NoPlanError("There is no plan yet: run `autotune --model NAME`.")
    runs = {run: place for place, run in enumerate(dict.fromkeys(plan.run for plan in plans))}
    candidates = []
    for plan in plans:
        free = _free_on(plan.scope.device, free_bytes)
        if free is not None:
            limit = free if max_memory_bytes is None else min(free, max_memory_bytes)
            candidates.append(_Candidate(plan, runs[plan.run], free, limit))
    if not candidates:
        devices = " or ".join(sorted({plan.scope.device for plan in plans}))
        model = plans[0].scope.model
        raise NoPlanError(
            f"Every plan for {model} is for {devices}, and no such device is seen here now: "
            f"see what `autotune probe` says of it, or run `autotune --model {model}`."
        )
    return candidates


def _free_on(device: str, free_bytes: FreeBytes) -> int | None:
    if isinstance(free_bytes, int):
        return free_bytes
    return free_bytes.get(device, free_bytes.get(f"{device}:0"))


def _changed(plan: Plan, machine: Machine, revision: str | None) -> tuple[bool, bool, bool]:
    """Return whether machine, revision and software are others; what matters more stands first."""
    scope = plan.scope
    return (
        scope.machine != machine.fingerprint,
        revision is not None and scope.revision != revision,
        scope.software != machine.software.key,
    )


def _nearness(candidate: _Candidate, wish: Wish, machine: Machine, revision: str | None) -> tuple[Any, ...]:
    return wish.distance(candidate.plan.scope.workload), *_changed(candidate.plan, machine, revision), candidate.run


def _rank(candidate: _Candidate, machine: Machine, revision: str | None) -> tuple[Any, ...]:
    return *_changed(candidate.plan, machine, revision), candidate.run, *candidate.speed


def _safer(chosen: _Candidate, family: list[_Candidate]) -> Safer | None:
    smaller = [each for each in family if each.needs_bytes < chosen.needs_bytes]
    if not smaller:
        return None
    best = min(smaller, key=lambda each: each.speed)
    return Safer(id=best.plan.id, recipe=best.plan.recipe, needs_bytes=best.needs_bytes)


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


def _stale_reasons(plan: Plan, machine: Machine, revision: str | None, before: Machine | None) -> Iterator[str]:
    """Yield what has changed since the plan was measured, as far as anybody remembers how it was."""
    scope = plan.scope
    other_machine, other_revision, other_software = _changed(plan, machine, revision)
    if other_machine:
        if before is None or not _same_hardware(before, machine):
            yield f"machine {_called(before) or scope.machine} -> {_called(machine)}"
        else:
            yield from _differences(before.lasting(), machine.lasting())
    if other_revision:
        yield f"model revision {scope.revision} -> {revision}"
    if other_software:
        if before is not None and before.software.key == scope.software:
            yield from _software_differences(before, machine)
        else:
            yield f"software {scope.software} -> {machine.software.key}"


def _same_hardware(before: Machine, now: Machine) -> bool:
    def parts(machine: Machine) -> list[Any]:
        return [machine.cpu.model_name, *((gpu.kind, gpu.name, gpu.uuid_hash) for gpu in machine.accelerators)]

    return parts(before) == parts(now)


def _called(machine: Machine | None) -> str:
    return " with ".join([machine.cpu.model_name, *(gpu.name for gpu in machine.accelerators)]) if machine else ""


def _software_differences(before: Machine, now: Machine) -> Iterator[str]:
    old, new = before.software, now.software
    yield from _differences(
        {"python": old.python, "os": old.os, **old.versions}, {"python": new.python, "os": new.os, **new.versions}
    )


def _differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Yield `name old -> new` for every leaf that differs between two JSON documents."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and old and isinstance(old[0], dict):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(old.get(key), new.get(key), f"{name} {key}".strip())
    elif old != new:
        yield f"{name} {_leaf(old)} -> {_leaf(new)}"


def _leaf(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if text and value is not None else "nothing"
