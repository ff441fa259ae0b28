"""Making a set of blind pairs: both recipes' images, each recipe in a process of its own, as trials are."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import ModelError, NoPlanError, UsageError
from ...probes.machine import probe
from ...search.evaluate import IsolatedEvaluator
from ...search.recipe import UNMODIFIED, Recipe
from ...search.space import space_for
from ...search.task import FEWEST_PROMPTS, Task
from ...search.trial.failure import TrialFailure
from ...store.blind import BlindSet, keep_set, new_name
from ...store.run import now
from ...store.store import Store
from ..catalogue import find_model
from ..catalogue.weights import require_weights
from ..explain import recipe_of_turns
from ..lock import the_only_tuner
from ..request import Request, task_of
from .draw import CONTROLS, PAIRS, Shot, draw_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ...search.plan import Plan

LIMIT_S = 12 * 3600.0


@dataclass(frozen=True)
class Asked:
    """A set that is wanted of a model: what is shown beside its baseline, for which prompts, and how often.

    plan: the newest where none is named. turns: such as `quantization=bnb_nf4`, in the place of a plan. prompts: the
    model's own where none are given; each comes again, with another seed, until there are enough.
    """

    model: str
    plan: str = ""
    turns: Sequence[str] = ()
    prompts: Sequence[str] = ()
    pairs: int = PAIRS


def make_set(asked: Asked, on_image: Callable[[int, int], None] = lambda *_: None) -> BlindSet:
    """Return a set as it was asked for. on_image: hears how many images of how many are made.

    Raises NoPlanError where there is no plan and no turn is given, UsageError for turns that cannot be, ModelError
    where the weights are not here, and BusyError while another search goes on.
    """
    if asked.pairs < FEWEST_PROMPTS:
        msg = f"A set has at least {FEWEST_PROMPTS} pairs, and {asked.pairs} were asked for."
        raise UsageError(msg)
    pairs, name = asked.pairs, find_model(asked.model).card.name
    plan = None if asked.turns else _plan_of(name, asked)
    task = _task(asked, plan)
    recipe = plan.recipe if plan else recipe_of_turns(asked.turns)
    baseline = plan.baseline if plan else UNMODIFIED
    _refuse(task, recipe, baseline)
    wanted = {baseline: pairs + CONTROLS, recipe: pairs}
    made = 0
    with the_only_tuner(), IsolatedEvaluator(task, task.modules) as evaluator:
        for each, count in wanted.items():
            for _ in _rendered(evaluator, each, count):
                made += 1
                on_image(made, sum(wanted.values()))
        ours, theirs = (evaluator.images(each) for each in wanted)
        shots = [Shot(task.prompts[index], ours[index], theirs.get(index)) for index in ours]
        screens, images = draw_set(shots[:pairs], shots[pairs:])
    blind = BlindSet(
        id=new_name(),
        model=name,
        scope=plan.scope.key if plan else task.scope.key,
        plan=plan.id if plan else "",
        recipe=recipe.key,
        baseline=baseline.key,
        made_at=now(),
        screens=screens,
    )
    keep_set(blind, images)
    return blind


def _plan_of(name: str, asked: Asked) -> Plan:
    with Store.read() as store:
        able = [plan for plan in store.plans(name) if not plan.scope.weights]
    plan = next((plan for plan in able if asked.plan in {"", plan.id}), None)
    if plan is None and asked.plan:
        msg = f"There is no plan {asked.plan} for {name} here that can be looked at: it may have been tuned anew."
        raise NoPlanError(msg)
    if plan is None:
        msg = (
            f"There is no plan for {name} to look at: run `autotune --model {asked.model}`, or say which recipe, such "
        )
        raise NoPlanError(msg + "as `precision=bf16`.")
    if plan.scope.adapters or plan.scope.distilled:
        msg = f"The newest plan for {name} is for adapters or distilled variants, which a set cannot show yet."
        raise UsageError(msg)
    return plan


def _task(asked: Asked, plan: Plan | None) -> Task:
    """Return the task in which the images are made: a prompt a pair, with a seed of its own."""
    called = plan.scope.workload.model_dump() if plan else {}
    task, _ = task_of(Request(model=asked.model, **called), probe())
    require_weights(task.card, task.machine)
    prompts = [*asked.prompts] or list(task.prompts)
    return replace(task, prompts=tuple(prompts[place % len(prompts)] for place in range(asked.pairs + CONTROLS)))


def _refuse(task: Task, recipe: Recipe, baseline: Recipe) -> None:
    because = space_for(task.setting).why_not(recipe)
    if recipe == baseline:
        because = "it is what the others are compared with"
    if because:
        msg = f"{recipe} cannot be shown beside {baseline}: {because}"
        raise UsageError(msg)


def _rendered(evaluator: IsolatedEvaluator, recipe: Recipe, count: int) -> Iterator[int]:
    """Make the images of a recipe, all in one process, and yield after each. Raises ModelError where it cannot."""
    facts: dict[str, Any] = {}
    deadline = time.monotonic() + LIMIT_S
    try:
        with evaluator.opened(recipe, deadline, facts) as process:
            for place in range(count):
                evaluator.run(process, recipe, range(place, place + 1), deadline, facts)
                yield place
    except TrialFailure as failure:
        msg = f"{recipe} could not make its images here ({failure.outcome.replace('_', ' ')}): {failure.detail}"
        raise ModelError(msg) from failure
