"""What the trials of a run come to, so far. A run only grows, so each trial is looked at once."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ...search.baseline import baseline_of, may_be_baseline
from ...search.front import front
from ...search.measured import FAILURES, Outcome, Trial
from ...value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...search.measured import Quality
    from ...search.plan import Plan
    from ...search.recipe import Recipe

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


@dataclass
class _Count:
    tried: int = 0
    failed: int = 0
    best_ms: float = math.inf


@dataclass
class Tally:
    """The trials of one run that were counted, as what pages show of them.

    tolerance: how much quality may be lost, as a share, by a trial that is to be in the front.
    """

    tolerance: float
    _dots: list[Dot] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)
    _best: list[Trial] = field(default_factory=list)
    _bases: list[Trial] = field(default_factory=list)
    _failed: dict[tuple[Outcome, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    _counts: dict[tuple[str, str], _Count] = field(default_factory=lambda: defaultdict(_Count))

    def add(self, trials: Sequence[Trial]) -> None:
        """Count trials that were not counted yet."""
        self._best = front([*self._best, *trials], self.tolerance)
        self._bases += [trial for trial in trials if may_be_baseline(trial.recipe)]
        for trial in trials:
            dot = _dot(trial)
            self._places[dot.recipe] = len(self._dots)
            self._dots.append(dot)
            if dot.role == "failed":
                self._failed[dot.outcome, dot.detail].append(dot.recipe)
            self._count(trial, dot)

    def dots(self, plans: Iterable[Plan]) -> tuple[Dot, ...]:
        """Return the trials in their order; those of plans with the figures of these."""
        dots = list(self._dots)
        for trial in self._best:
            self._let_be(dots, trial.recipe, role="front")
        for plan in plans:
            quality = _shares(plan.quality) if plan.quality else {}
            figures = {"latency_ms": plan.latency.median_ms, "peak_bytes": plan.peak_memory_bytes, **quality}
            self._let_be(dots, plan.recipe, role="plan", **figures)
        if baseline := self._baseline:
            self._let_be(dots, baseline.recipe, role="baseline")
        return tuple(dots)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What did not work, by its cause; that which kept most from working first."""
        return tuple(
            Failure(outcome=outcome, because=because, recipes=tuple(recipes))
            for (outcome, because), recipes in sorted(self._failed.items(), key=lambda item: -len(item[1]))
        )

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Each choice that was tried, the most telling first: that whose best trial was the fastest."""
        baseline_ms = self._baseline.median_ms if self._baseline else math.inf
        choices = [
            Choice(
                knob=knob,
                choice=choice,
                tried=count.tried,
                failed=count.failed,
                best=count.best_ms / baseline_ms if math.inf not in {count.best_ms, baseline_ms} else None,
            )
            for (knob, choice), count in self._counts.items()
        ]
        return tuple(sorted(choices, key=lambda each: (each.best is None, each.best or 0.0, each.knob, each.choice)))

    @property
    def _baseline(self) -> Trial | None:
        return baseline_of(self._bases)

    def _count(self, trial: Trial, dot: Dot) -> None:
        took_ms = dot.latency_ms / trial.drift if dot.outcome == "ok" and dot.latency_ms is not None else math.inf
        for knob, choice in trial.recipe.turned.items():
            count = self._counts[knob, str(choice)]
            count.tried += 1
            count.failed += dot.role == "failed"
            count.best_ms = min(count.best_ms, took_ms)

    def _let_be(self, dots: list[Dot], recipe: Recipe, **facts: object) -> None:
        place = self._places.get(recipe.key)
        if place is not None:
            dots[place] = dots[place].model_copy(update=facts)


def _dot(trial: Trial) -> Dot:
    return Dot(
        number=trial.number,
        recipe=trial.recipe.key,
        role="failed" if trial.outcome in FAILURES else "tried",
        outcome=trial.outcome,
        detail=trial.detail,
        latency_ms=trial.latency.median_ms if trial.latency else None,
        peak_bytes=trial.peak_memory_bytes,
        **_shares(trial.quality) if trial.quality else {},
    )


def _shares(quality: Quality) -> dict[str, float]:
    whole = quality.baseline_mean
    return {"quality": quality.mean / whole, "bound": 1 + quality.bound / whole} if whole else {}
