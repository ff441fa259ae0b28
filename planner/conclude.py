"""From trials to plans: who goes into the last round, who wins it, and which plans are worth keeping."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..search.baseline import baseline_of, begun_with
from ..search.measured import Latency, Quality, Trial
from ..search.plan import Gain, Plan
from ..search.race import FEWEST_ROUNDS
from ..search.speedup import is_faster, speedup, speedup_apart
from ..search.task import CONTEXT_BYTES, Task
from .ties import preferred

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..search.plan import Scope
    from ..search.race import Lane
    from ..search.recipe import Recipe
    from ..search.space import Space

FINALISTS = 3
FAR = 1.15  # what was slower than the best by more than this when it was tried does not overtake it in the last round
ROUNDS = 2 * FEWEST_ROUNDS  # of a short last round
LONG_S = 240.0  # of the baseline's calls in it: where they take longer there are fewer rounds
SMALLER = 0.9  # a plan that is no faster must at least need this much less memory to be kept


def finalists(trials: Sequence[Trial], tolerance: float, without: Collection[Recipe] = ()) -> list[Recipe]:
    """Return the fastest feasible recipes that look faster than the baseline and about as fast, best first."""
    baseline = baseline_of(trials)
    limit = baseline.cost if baseline else 0.0
    able = [trial for trial in trials if trial.feasible(tolerance) and trial.cost < limit]
    ranked = sorted((trial for trial in able if trial.recipe not in without), key=lambda trial: trial.cost)
    return [trial.recipe for trial in ranked if trial.cost <= FAR * ranked[0].cost][:FINALISTS]


def race_s(candidates: Sequence[Recipe], trials: Sequence[Trial], *, together: bool) -> float:
    """Return how long a short last round of these candidates and the baseline takes, as their trials went.

    together: they stay loaded side by side; else each is loaded twice.
    """
    baseline = baseline_of(trials)
    if baseline is None:
        return 0.0
    runners = [baseline, *_measured(candidates, trials)]
    loads = 1 if together else 2
    return sum(loads * trial.ready_s + _rounds(baseline) * trial.median_ms / 1000 for trial in runners)


def _rounds(baseline: Trial) -> int:
    return max(FEWEST_ROUNDS, min(ROUNDS, int(LONG_S * 1000 / baseline.median_ms)))


def confirming_s(candidates: Sequence[Recipe], trials: Sequence[Trial], prompts: int) -> float:
    """Return how long the images take that a winner is still to be judged by after a short last round.

    prompts: of how many there will be images. A trial's scores say which are there, a round adds one of the others.
    Nothing takes any time where the baseline has no quality, as nothing is judged then.
    """
    baseline, able = baseline_of(trials), _measured(candidates, trials)
    if baseline is None or baseline.quality is None or not able:
        return 0.0
    unseen = prompts - _rounds(baseline)
    return _missing_s(baseline, unseen) + max(_missing_s(trial, unseen) for trial in able)


def _missing_s(trial: Trial, prompts: int) -> float:
    judged = len(trial.quality.scores) if trial.quality else 0
    count = max(0, prompts - judged)
    return trial.ready_s + count * trial.median_ms / 1000 if count else 0.0


def _measured(candidates: Sequence[Recipe], trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.recipe in candidates and trial.latency]


def fit_together(recipes: Collection[Recipe], trials: Sequence[Trial], task: Task, spare_bytes: int) -> bool:
    """Return whether all who race can stay loaded side by side, where they compute.

    spare_bytes: what must be left of the RAM. What is offloaded waits in RAM, of which no trial says how much it took.
    """
    peaks = [trial.peak_memory_bytes or 0 for trial in trials if trial.recipe in recipes]
    if task.device == "cpu":
        return sum(peaks) + spare_bytes < task.machine.memory.free_bytes
    limit_bytes = task.device_limit_bytes
    if limit_bytes is None or any("offload" in recipe.turned for recipe in recipes):
        return False
    return sum(peaks) + CONTEXT_BYTES * (len(peaks) - 1) < limit_bytes


def neighbours(recipe: Recipe, space: Space, trials: Sequence[Trial]) -> list[Recipe]:
    """Return what must still be tried to say what each knob of `recipe` bought: the recipe without it."""
    tried = {trial.recipe for trial in trials}
    return [
        other for knob in _bought(recipe, trials) if (other := recipe.without(knob)) not in tried and other in space
    ]


def _bought(recipe: Recipe, trials: Sequence[Trial]) -> list[str]:
    """Return the knobs that a recipe turns otherwise than what everything began with."""
    begin = begun_with(trials)
    common = begin.turned.items() if begin else ()
    return sorted(knob for knob, choice in recipe.turned.items() if (knob, choice) not in common)


def winner(lanes: Sequence[Lane], qualities: dict[Recipe, Quality | None], tolerance: float) -> tuple[Lane, str] | None:
    """Return the lane to make the plan of, and the sentence about its ties; None where no candidate is to be taken.

    That must be as good as asked, and faster than the baseline beyond the noise and by more than a tie.
    """
    baseline, *others = lanes
    able = []
    for lane in others:
        quality = qualities.get(lane.recipe)
        good = quality is None or quality.shortfall(tolerance) <= 0
        ran = not lane.fell_out and lane.samples_ms
        if ran and good and is_faster(speedup(baseline.costs, lane.costs)):
            able.append(lane)
    return preferred(able) if able else None


def raced_plan(  # noqa: PLR0913 - a plan has that many sides
    scope: Scope,
    run: str,
    lane: Lane,
    baseline: Lane,
    quality: Quality | None,
    gains: tuple[Gain, ...],
    notes: tuple[str, ...] = (),
) -> Plan:
    """Return the plan of a recipe that ran the last round against the baseline."""
    own, other = map(_run_of_lane, (lane, baseline))
    plan = _plan(scope, run, (lane.recipe, baseline.recipe), own, other, quality=quality, gains=gains, raced=True)
    return plan.model_copy(update={"notes": notes})


def screened_plan(scope: Scope, run: str, trial: Trial, baseline: Trial, gains: tuple[Gain, ...] = ()) -> Plan | None:
    """Return the plan of a recipe that was only tried; None if it is neither faster nor smaller than the baseline."""
    own, other = _run_of(trial), _run_of(baseline)
    if own is None or other is None:
        return None
    plan = _plan(
        scope, run, (trial.recipe, baseline.recipe), own, other, quality=trial.quality, gains=gains, raced=False
    )
    smaller = plan.peak_memory_bytes <= SMALLER * plan.baseline_peak_memory_bytes
    return plan if plan.speedup_low > 1 or smaller else None


@dataclass(frozen=True)
class _Run:
    """How a recipe ran, in a trial or in the last round."""

    samples_ms: tuple[float, ...]
    costs: tuple[float, ...]
    load_s: float
    cold_s: float
    peak_memory_bytes: int


def _run_of_lane(lane: Lane) -> _Run:
    facts = {name: lane.facts[name] for name in ("load_s", "cold_s", "peak_memory_bytes")}
    return _Run(tuple(lane.samples_ms), lane.costs, **facts)


def _run_of(trial: Trial) -> _Run | None:
    if trial.latency is None or trial.peak_memory_bytes is None:
        return None
    samples_ms = trial.latency.kept_ms
    return _Run(
        samples_ms, trial.costs or samples_ms, trial.load_s or 0.0, trial.cold_s or 0.0, trial.peak_memory_bytes
    )


def _plan(  # noqa: PLR0913 - a plan has that many sides
    scope: Scope,
    run: str,
    recipes: tuple[Recipe, Recipe],
    own: _Run,
    baseline: _Run,
    *,
    quality: Quality | None,
    gains: tuple[Gain, ...],
    raced: bool,
) -> Plan:
    """Return the plan; only in the last round was each call made beside one of the baseline's."""
    compared = speedup if raced else speedup_apart
    ratio, low, high = compared(baseline.costs, own.costs)
    return Plan(
        scope=scope,
        recipe=recipes[0],
        latency=Latency(samples_ms=own.samples_ms),
        baseline=recipes[1],
        baseline_latency=Latency(samples_ms=baseline.samples_ms),
        speedup=ratio,
        speedup_low=low,
        speedup_high=high,
        raced=raced,
        load_s=own.load_s,
        cold_s=own.cold_s,
        peak_memory_bytes=own.peak_memory_bytes,
        baseline_peak_memory_bytes=baseline.peak_memory_bytes,
        quality=quality,
        gains=gains,
        run=run,
        created_at=_now(),
    )


def gains_of(recipe: Recipe, trials: Sequence[Trial], space: Space) -> tuple[Gain, ...]:
    """Return what each knob of the recipe bought: the latency without it, over the latency with it."""
    by_recipe = {trial.recipe: trial for trial in trials}
    own = by_recipe.get(recipe)
    gains = []
    for knob in _bought(recipe, trials):
        other = recipe.without(knob)
        trial = by_recipe.get(other)
        slowdown, note = None, ""
        if own and own.latency and trial and trial.latency:
            slowdown = trial.cost / own.cost
        elif trial:
            note = f"without it: {trial.outcome.replace('_', ' ')}"
        else:
            note = space.why_not(other) or "not measured: no time was left"
        gains.append(Gain(knob=knob, choice=str(recipe.turned[knob]), slowdown_without=slowdown, note=note))
    return tuple(gains)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
