"""Why a plan is what it is, why a recipe is tried or not, and what came of it here: `autotune explain`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..probes.machine import probe
from ..search.assemble import choices_of
from ..search.baseline import baseline_of
from ..search.knobs import KNOBS
from ..search.measured import FAILURES, Trial
from ..search.plan import Plan
from ..search.recipe import Choice, Recipe
from ..search.rules import refusal
from ..search.space import recipe_of, space_for
from ..store.store import Store
from ..value import Value
from .importance import Effect, effects
from .request import Request, task_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..search.task import Task


class Explanation(Value):
    """What is to be said of a recipe. `because` is empty where nothing speaks against it.

    `source` says how that is known. `trial` and `baseline` are what was measured here last, for the model's own
    workload, None where nothing was.
    """

    schema_version: int = 1
    model: str
    recipe: Recipe
    because: str = ""
    source: str = ""
    trial: Trial | None = None
    baseline: Trial | None = None
    tolerance: float


class Refused(Value):
    """A choice that this machine, this model or this workload rules out."""

    knob: str
    choice: Choice
    because: str


class Overview(Value):
    """What became of the tuning of a model: `plan` with what each knob bought, what failed, what was never tried.

    `plan` is None, and `reason` empty, where it has not been tuned for its own workload. `missed` are the trials whose
    images are not as good as was asked, `effects` what each choice did to the latency wherever it was tried, and
    `nothing_to_gain` whether all was decided and nothing is faster than the baseline; `nearest` is then the fastest of
    the others.
    """

    schema_version: int = 1
    model: str
    plan: Plan | None
    reason: str
    failed: tuple[Trial, ...]
    missed: tuple[Trial, ...] = ()
    effects: tuple[Effect, ...] = ()
    nothing_to_gain: bool = False
    baseline: Trial | None = None
    nearest: Trial | None = None
    refused: tuple[Refused, ...]


def overview(request: Request) -> Overview:
    """Return how the newest tuning of a model here ended, and what it could not try.

    Raises ModelError, UsageError and StoreError.
    """
    task, _ = task_of(request, probe())
    refused = space_for(task.setting).refused
    with Store.read() as store:
        runs = [run for run in store.runs(task.card.name) if run.scope.key == task.scope.key]
        plans = store.plans_of(runs[0].id) if runs else ()
    trials = runs[0].trials if runs else ()
    baseline = baseline_of(trials)
    others = [trial for trial in trials if trial.feasible(task.tolerance) and trial is not baseline]
    return Overview(
        model=task.card.name,
        plan=plans[0] if plans else None,
        reason=runs[0].reason if runs else "",
        failed=tuple(trial for trial in trials if trial.outcome in FAILURES),
        missed=tuple(trial for trial in trials if trial.outcome == "ok" and not trial.feasible(task.tolerance)),
        effects=effects(trials),
        nothing_to_gain=bool(runs) and runs[0].state == "finished" and not plans,
        baseline=baseline,
        nearest=min(others, key=lambda trial: trial.cost, default=None),
        refused=tuple(Refused(knob=k, choice=choice, because=why) for (k, choice), why in refused.items()),
    )


def explain(request: Request, turns: Sequence[str]) -> Explanation:
    """Return what speaks against a recipe on this machine, and what was measured of it.

    turns: such as `compile=full`. Raises ModelError, UsageError for a knob or a choice that there is not, and
    StoreError.
    """
    recipe = recipe_of_turns(turns)
    task, _ = task_of(request, probe())
    because = space_for(task.setting).why_not(recipe) or ""
    trials = _trials(task)
    return Explanation(
        model=task.card.name,
        recipe=recipe,
        because=because,
        source=_source(recipe, task) if because else "",
        trial=trials.get(recipe),
        baseline=baseline_of(trials.values()),
        tolerance=task.tolerance,
    )


def recipe_of_turns(turns: Sequence[str]) -> Recipe:
    """Return the recipe that turns such as `compile=full` stand for. Raises UsageError."""
    return recipe_of({knob.name: knob.default for knob in KNOBS} | dict(map(_turn, turns)))


def _turn(text: str) -> tuple[str, Choice]:
    name, _, said = text.partition("=")
    knobs = {knob.name: knob for knob in KNOBS}
    if name not in knobs:
        near = get_close_matches(name, knobs, n=1) or [", ".join(knobs)]
        msg = f"There is no knob {name}; a turn is written KNOB=CHOICE. Did you mean {near[0]}?"
        raise UsageError(msg)
    for choice in knobs[name].choices:
        if str(choice) == said:
            return name, choice
    msg = f"{name} has no choice {said!r}; it has {', '.join(map(str, knobs[name].choices))}."
    raise UsageError(msg)


def _source(recipe: Recipe, task: Task) -> str:
    """Return how it is known that the recipe cannot be: of the knob that refuses, or of the rule."""
    for knob in KNOBS:
        if knob.name in recipe.turned and knob.refuses(recipe.turned[knob.name], task.setting):
            return knob.source
    rule = refusal(choices_of(recipe), adapted=bool(task.added.adapters))
    return rule.source if rule else ""


def _trials(task: Task) -> dict[Recipe, Trial]:
    """Return the trials of this scope that the store has, the newest of each recipe."""
    with Store.read() as store:
        runs = [run for run in store.runs(task.card.name) if run.scope.key == task.scope.key]
    return {trial.recipe: trial for run in reversed(runs) for trial in run.trials}
