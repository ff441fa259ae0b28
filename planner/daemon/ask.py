"""A question about a plan, answered from the store: what the daemon does, and an app itself where no daemon lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from ...errors import NoPlanError, StoreError
from ...probes.machine import Machine
from ...search.plan import Plan, Scope
from ...store.store import Store
from ..choose import Answer, choose, only
from ..jobs.offer import with_offer
from ..lived import Lived, lived
from .wire import Question


class UnknownModelError(NoPlanError):
    """Nothing is kept for a model of that name; `near` are names that are spelt much like it."""

    def __init__(self, message: str, near: tuple[str, ...]) -> None:
        super().__init__(message)
        self.near = near


def answer(store: Store, question: Question, machine: Machine, free_bytes: Mapping[str, int]) -> Answer:
    """Return the plan for now out of the store.

    Raises NoPlanError with a sentence that says what to run, UnknownModelError if the model was never tuned, and
    StoreError if the store cannot be read, or is damaged and has no plan left.
    """
    return answer_of(gather(store, question), question, machine, free_bytes)


@dataclass(frozen=True)
class Kept:
    """What the store has for a question, whatever memory is free.

    past: the machines of the plans by their fingerprints; lives: what apps have said of the plans, by their ids.
    nothing: why there is no plan, where there is none.
    """

    plans: tuple[Plan, ...] = ()
    past: Mapping[str, Machine] = field(default_factory=dict)
    lives: Mapping[str, Lived] = field(default_factory=dict)
    nothing: NoPlanError | None = None


def gather(store: Store, question: Question) -> Kept:
    """Return what the store has for a question. Raises StoreError as `answer` does."""
    finished = tuple(plan for plan in store.plans(question.model, provisional=False) if _serves(plan.scope, question))
    runs = {plan.run for plan in finished}
    unfinished = tuple(
        plan for plan in store.plans(question.model) if plan.run not in runs and _serves(plan.scope, question)
    )
    plans = (*finished, *unfinished)  # an interrupted search does not push a finished one aside
    if not plans:
        nothing = _nothing(store, question)
        if isinstance(nothing, StoreError):
            raise nothing
        return Kept(nothing=nothing)
    past = {name: store.machine(name) for name in {plan.scope.machine for plan in plans}}
    return Kept(
        plans,
        {name: known for name, known in past.items() if known},
        lived(store.outcomes(plan.id for plan in plans)),
    )


def answer_of(kept: Kept, question: Question, machine: Machine, free_bytes: Mapping[str, int]) -> Answer:
    """Return the plan for now out of what the store has. Raises NoPlanError and UnknownModelError."""
    if kept.nothing:
        raise kept.nothing.with_traceback(None)  # it is kept, and would gather the traces of all who asked
    chosen = choose(
        only(kept.plans, question.min_quality, question.device),
        machine,
        free_bytes,
        question.revision,
        question.wish,
        question.max_memory_bytes,
        past=kept.past,
        lives=kept.lives,
    )
    return with_offer(chosen, question.wish)


def _of_other_additions(question: Question) -> str:
    if question.adapters:
        return (
            f"There is no plan for {question.model} with these {len(question.adapters)} adapters at these scales: "
            f"run `autotune --model {question.model} --lora PATH:SCALE` with the same."
        )
    return (
        f"{question.model} was tuned with adapters or distilled variants only, and was asked for without: "
        f"name them too, or run `autotune --model {question.model}`."
    )


def models_in(store: Store) -> tuple[str, ...]:
    """Return the names of the models that were ever tuned, in order. Raises StoreError."""
    return tuple(sorted({run.scope.model for run in store.runs_alone()}))


def _serves(scope: Scope, question: Question) -> bool:
    return scope.serves(question.adapters, question.distilled)


def _nothing(store: Store, question: Question) -> NoPlanError | StoreError:
    """Return the error that says why there is no plan, and what to do."""
    model, damage = question.model, store.damage
    if damage:
        return StoreError(f"There is no plan for {model} that can be read, and the store is damaged: {damage[0]}")
    runs = store.runs(model)
    states = {run.state for run in runs if _serves(run.scope, question)}
    if runs and not states:
        return NoPlanError(_of_other_additions(question))
    if "finished" in states:
        return NoPlanError(
            f"{model} was tuned, and nothing that was tried is faster and as good: use it unmodified, "
            f"or search longer with `autotune --model {model} --budget 1h --fresh`."
        )
    if states:
        return NoPlanError(
            f"The search for {model} has not ended, and has no plan yet: wait for it, "
            f"or go on where it was interrupted with `autotune --model {model}`."
        )
    near = tuple(get_close_matches(model, models_in(store), n=3, cutoff=0.5))
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return UnknownModelError(f"There is no plan for {model} yet: run `autotune --model {model}`.{hint}", near)
