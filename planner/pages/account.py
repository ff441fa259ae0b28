"""What is to be told of a tuning: one value, of which the report, the daemon's pages and their JSON are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...probes.machine import Machine
from ...search.baseline import baseline_of
from ...search.front import front
from ...search.measured import FAILURES, Outcome, Quality, Trial
from ...search.plan import Plan, Scope
from ...store.album import Album, album_of
from ...value import Value
from ..spot.verdict import Verdict
from .wording import headline, repeated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...store.run import Run

Role = Literal["baseline", "plan", "front", "tried", "failed"]


class Dot(Value):
    """A trial as a place in the picture. `quality` and `bound` are shares of the baseline's CLIP score.

    A plan's figures are those of its last round, where it had one. What was not measured is None.
    """

    number: int
    recipe: str
    role: Role
    outcome: Outcome
    detail: str = ""
    latency_ms: float | None = None
    peak_bytes: int | None = None
    quality: float | None = None
    bound: float | None = None


class Failure(Value):
    """What did not work, for one cause."""

    outcome: Outcome
    because: str
    recipes: tuple[str, ...]


class Choice(Value):
    """What became of the trials that had a knob at a choice; `best` is the least latency over the baseline's."""

    knob: str
    choice: str
    tried: int
    failed: int
    best: float | None


class Account(Value):
    """A tuning: what came of it, for whom it holds, and what was seen on the way.

    `machine` is as it was when the run was begun, None where nobody knows. `plans` has the winner first, and
    `eyes` is what people saw of it in blind pairs.
    """

    schema_version: int = 1
    model: str
    headline: str
    command: str
    run: str
    state: Literal["new", "resumed", "unfinished", "finished"]
    started_at: str
    ended_at: str
    reason: str
    scope: Scope
    machine: Machine | None
    eyes: Verdict | None = None
    plans: tuple[Plan, ...]
    dots: tuple[Dot, ...]
    failures: tuple[Failure, ...]
    choices: tuple[Choice, ...]
    album: Album

    @property
    def plan(self) -> Plan | None:
        """The winner."""
        return self.plans[0] if self.plans else None

    @property
    def roles(self) -> set[Role]:
        """What there is among the trials."""
        return {dot.role for dot in self.dots}

    @property
    def baseline(self) -> Dot | None:
        """What the others are compared with."""
        return next((dot for dot in self.dots if dot.role == "baseline"), None)


def account_of(run: Run, plans: Sequence[Plan], machine: Machine | None, eyes: Verdict | None = None) -> Account:
    """Return what is to be told of a run with its trials.

    machine: for a run that does not know its own; eyes: what people saw of the winner in blind pairs.
    """
    baseline = baseline_of(run.trials)
    return Account(
        model=run.scope.model,
        headline=headline(plans[0] if plans else None, run),
        command=repeated(run.scope),
        run=run.id,
        state=run.state,
        started_at=run.started_at,
        ended_at=run.ended_at,
        reason=run.reason,
        scope=run.scope,
        machine=run.machine or machine,
        eyes=eyes,
        plans=tuple(plans),
        dots=tuple(_dots(run.trials, plans, run.scope.tolerance, baseline)),
        failures=_failures(run.trials),
        choices=_choices(run.trials, baseline),
        album=album_of(run.id),
    )


def _dots(trials: Sequence[Trial], plans: Sequence[Plan], tolerance: float, baseline: Trial | None) -> Iterable[Dot]:
    by_recipe = {plan.recipe: plan for plan in plans}
    best = {trial.recipe for trial in front(trials, tolerance)}
    for trial in trials:
        plan = by_recipe.get(trial.recipe)
        quality = (plan and plan.quality) or trial.quality
        latency = plan.latency if plan else trial.latency
        yield Dot(
            number=trial.number,
            recipe=trial.recipe.key,
            role=_role(trial, baseline, plan, in_front=trial.recipe in best),
            outcome=trial.outcome,
            detail=trial.detail,
            latency_ms=latency.median_ms if latency else None,
            peak_bytes=plan.peak_memory_bytes if plan else trial.peak_memory_bytes,
            quality=_share(quality, quality.mean) if quality else None,
            bound=_share(quality, quality.baseline_mean + quality.bound) if quality else None,
        )


def _role(trial: Trial, baseline: Trial | None, plan: Plan | None, *, in_front: bool) -> Role:
    if baseline and trial.recipe == baseline.recipe:
        return "baseline"
    if plan:
        return "plan"
    if trial.outcome in FAILURES:
        return "failed"
    return "front" if in_front else "tried"


def _share(quality: Quality, score: float) -> float | None:
    return score / quality.baseline_mean if quality.baseline_mean else None


def _failures(trials: Sequence[Trial]) -> tuple[Failure, ...]:
    found: dict[tuple[Outcome, str], list[str]] = {}
    for trial in trials:
        if trial.outcome in FAILURES:
            found.setdefault((trial.outcome, trial.detail), []).append(trial.recipe.key)
    return tuple(
        Failure(outcome=outcome, because=because, recipes=tuple(recipes))
        for (outcome, because), recipes in sorted(found.items(), key=lambda item: -len(item[1]))
    )


def _choices(trials: Sequence[Trial], baseline: Trial | None) -> tuple[Choice, ...]:
    """Return each choice that was tried, the most telling first: that whose best trial was the fastest."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        for knob, choice in trial.recipe.turned.items():
            groups.setdefault((knob, str(choice)), []).append(trial)
    choices = [_choice(knob, choice, group, baseline) for (knob, choice), group in groups.items()]
    return tuple(sorted(choices, key=lambda each: (each.best is None, each.best or 0.0, each.knob, each.choice)))


def _choice(knob: str, choice: str, group: Sequence[Trial], baseline: Trial | None) -> Choice:
    best_ms = min((trial.median_ms for trial in group if trial.outcome == "ok" and trial.latency), default=None)
    return Choice(
        knob=knob,
        choice=choice,
        tried=len(group),
        failed=sum(trial.outcome in FAILURES for trial in group),
        best=best_ms / baseline.median_ms if best_ms and baseline and baseline.latency else None,
    )
