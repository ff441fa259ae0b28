"""Making a set of blind pairs: both recipes' images, each recipe in a process of its own, as trials are."""

from __future__ import annotations

import time
from dataclasses import replace
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
from ..tune import Request, task_of
from .draw import CONTROLS, PAIRS, Shot, draw_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ...search.plan import Plan

LIMIT_S = 12 * 3600.0


def make_set(
    model: str,
    turns: Sequence[str] = (),
    prompts: Sequence[str] = (),
    pairs: int = PAIRS,
    on_image: Callable[[int, int], None] = lambda *_: None,
) -> BlindSet:
    """Return a set that shows a recipe beside its baseline: the newest plan of a model, or what `turns` say.

    turns: such as `quantization=bnb_nf4`. prompts: the model's own where none are given; each comes again, with another
    seed, until there are enough. on_image: hears how many images of how many are made.

    Raises NoPlanError where there is no plan and no turn is given, UsageError for turns that cannot be, ModelError
    where the weights are not here, and BusyError while another search goes on.
    """
    if pairs < FEWEST_PROMPTS:
        msg = f"A set has at least {FEWEST_PROMPTS} pairs, and {pairs} were asked for."
        raise UsageError(msg)
    name = find_model(model).card.name
    plan = None if turns else _plan_of(name, model)
    task = _task(model, plan, prompts, pairs)
    recipe = plan.recipe if plan else recipe_of_turns(turns)
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


def _plan_of(name: str, model: str) -> Plan:
    with Store.read() as store:
        plan = next((plan for plan in store.plans(name) if not plan.scope.weights), None)
    if plan is None:
        msg = f"There is no plan for {name} to look at: run `autotune --model {model}`, or say which recipe, such as "
        raise NoPlanError(msg + "`precision=bf16`.")
    if plan.scope.adapters or plan.scope.distilled:
        msg = f"The newest plan for {name} is for adapters or distilled variants, which a set cannot show yet."
        raise UsageError(msg)
    return plan


def _task(model: str, plan: Plan | None, prompts: Sequence[str], pairs: int) -> Task:
    """Return the task in which the images are made: a prompt a pair, with a seed of its own."""
    called = plan.scope.workload.model_dump() if plan else {}
    task, _ = task_of(Request(model=model, **called), probe())
    require_weights(task.card, task.machine)
    asked = [*prompts] or list(task.prompts)
    return replace(task, prompts=tuple(asked[place % len(asked)] for place in range(pairs + CONTROLS)))


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
