"""Tuning one model on this machine: probe, search, race, keep. What `autotune --model` does, without the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import StoreError
from ..probes.machine import probe
from ..search.baseline import baseline_of, begins_with, ways
from ..search.bayesian import BayesianSampler
from ..search.crew import ALONE, Crew
from ..search.evaluate import CutOffError, IsolatedEvaluator
from ..search.front import front
from ..search.measured import Quality, Trial
from ..search.plan import Plan
from ..search.race import race
from ..search.recipe import UNMODIFIED, Recipe
from ..search.space import Space, space_for
from ..search.study import study
from ..search.task import Task
from ..search.trial.failure import TrialFailure
from ..store.store import Store
from . import conclude
from .carried import carried_over
from .catalogue import hub_name
from .catalogue.unpacking import have_parts, have_unpacked
from .catalogue.weights import require_weights
from .crowded import Foresight
from .experience import experience_of
from .hub.cache import with_weights
from .hub.fetch import fetch
from .lock import the_only_tuner
from .pictured import bring_back_images, keep_images
from .request import Request, task_of
from .trust import doubts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..probes.machine import Machine
    from ..store.run import Run

LAST_ROUND = 0.25  # share of the budget that is kept for explaining and racing, unless the trials say that it is more
RACING = 0.18  # the part of it that is kept from explaining, for racing
CONFIRMING = 0.08  # the part of it in which the winner makes images of the prompts that it was not judged by yet
SLACK = 1.25  # a last round may take so much longer than the trials say
AT_MOST = 0.6  # however long a last round takes, the rest is searched
SPARE_BYTES = 512 * 2**20  # free memory that a trial must leave alone
OUT_OF_TIME = "the budget was used"


@dataclass(frozen=True)
class Fetching:
    """The weights are being fetched; this comes before everything else, and again and again."""

    model: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Unpacking:
    """A file is being unpacked; this comes as early, and again and again."""

    model: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Prepared:
    """The first event but for those: what will be searched, and what an earlier run has left."""

    task: Task
    space: Space
    run: Run
    budget_s: float


@dataclass(frozen=True)
class Racing:
    """The search is over, and these recipes go against the baseline."""

    recipes: tuple[Recipe, ...]


Event = Fetching | Unpacking | Prepared | Recipe | Trial | Racing
"""What happens on the way: a Recipe is about to be tried, a Trial has ended."""


@dataclass(frozen=True)
class Result:
    """How a tuning ended. `plans` has the winner first; it is empty where nothing beats the baseline."""

    task: Task
    run: Run
    trials: tuple[Trial, ...]
    plans: tuple[Plan, ...]
    reason: str
    interrupted: bool = False

    @property
    def plan(self) -> Plan | None:
        """The winner."""
        return self.plans[0] if self.plans else None


def tune(
    request: Request | str,
    on_event: Callable[[Event], None] = lambda _: None,
    *,
    machine: Machine | None = None,
    crew: Crew = ALONE,
) -> Result:
    """Return the best plans for a request, or for a model's name, from the store if it has been answered before.

    Every finished trial is on disk before `on_event` hears of it. Ctrl-C (KeyboardInterrupt) ends the search,
    not the function: what was found so far is concluded and kept, and the run can be resumed. Raises as `task_of` does,
    and ModelError where the model's weights are not here.

    machine: what this one is taken for, where it is not to be asked. crew: others who try recipes of the same run;
    where it is they who conclude, there are no plans here.
    """
    request = Request(model=request) if isinstance(request, str) else request
    _have_files(request, on_event)
    started = time.monotonic()
    task, budget_s = task_of(request, machine or probe())
    require_weights(task.card, task.machine)
    with the_only_tuner(), Store.open() as store:
        space = space_for(task.setting)
        lessons = experience_of(store, task.machine, task.card, task.workload).lessons
        begin = begins_with(task.setting, space)
        foresight = Foresight(task, lessons, begin)
        space = replace(space, room=None if request.force else foresight.crowded)
        run = store.begin_run(task.scope, task.machine, fresh=request.fresh)
        on_event(Prepared(task, space, run, budget_s))
        trials = list(run.trials)
        if run.state == "finished":
            return Result(task, run, run.trials, store.plans_of(run.id), run.reason)
        with IsolatedEvaluator(task, task.modules, _memory_limit_bytes(task.machine)) as evaluator:
            evaluator.recall(trials)
            bring_back_images(run.id, evaluator)

            def note(happened: Recipe | Trial) -> None:
                if isinstance(happened, Trial):
                    happened = foresight.noted(happened)
                    store.keep_trial(run.id, happened)
                    trials.append(happened)
                    if happened is baseline_of(trials):
                        _keep_images(run.id, evaluator, (), trials)
                on_event(happened)

            most = request.most_trials or 10**9
            first = (*request.first, *carried_over(store, task))
            session = _Session(
                task, space, begin, evaluator, trials, note, on_event, started + budget_s, budget_s, most, first, crew
            )
            try:
                found = session.help() if crew.helps else session.run(run.id)
                interrupted, reason = False, session.reason
            except KeyboardInterrupt:
                found = session.screened_plans(run.id)
                interrupted, reason = True, "interrupted"
            _keep_images(run.id, evaluator, found, trials)
        store.finish_run(run.id, reason, found, finished=not interrupted and session.decided)
    return Result(task, run, tuple(trials), tuple(found), reason, interrupted)


def _have_files(request: Request, on_event: Callable[[Event], None]) -> None:
    if request.weights == "hub":
        _have_weights(request.model, on_event)
    if request.weights != "random":
        have_unpacked(request.model, lambda done, total: on_event(Unpacking(request.model, done, total)))


def _keep_images(run: str, evaluator: IsolatedEvaluator, plans: Sequence[Plan], trials: Sequence[Trial]) -> None:
    with suppress(StoreError):  # a tuning is worth as much without them
        keep_images(run, evaluator, plans, trials)


def _have_weights(model: str, on_event: Callable[[Event], None]) -> None:
    """Fetch the weights of a model of the hub, or those that a file lacks, unless they are here. Raises ModelError."""
    name = hub_name(model)
    if name and not with_weights(name):
        fetch(*name, lambda done_bytes, total_bytes: on_event(Fetching(str(name), done_bytes, total_bytes)))
    elif not name:
        have_parts(model, lambda done_bytes, total_bytes: on_event(Fetching(model, done_bytes, total_bytes)))


@dataclass
class _Session:
    """The steps of one tuning, on the trials that they share."""

    task: Task
    space: Space
    begin: Recipe
    evaluator: IsolatedEvaluator
    trials: list[Trial]
    note: Callable[[Recipe | Trial], None]
    on_event: Callable[[Event], None]
    deadline: float
    budget_s: float
    most: int
    first: Sequence[Recipe] = ()
    crew: Crew = ALONE
    reason: str = ""
    decided: bool = False

    def help(self) -> list[Plan]:
        """Search only, and return no plans: another concludes."""
        self._search()
        self.reason = "the others go on"
        return []

    def run(self, run_id: str) -> list[Plan]:
        """Search, explain, race, and return the plans, the winner first."""
        self._search()
        if baseline_of(self.trials) is None:
            self.reason = "the budget ended before there was anything to compare with: it takes a larger --budget"
            return []
        fallen: set[Recipe] = set()
        while candidates := conclude.finalists(self.trials, self.task.tolerance, without=fallen):
            if not fallen:
                self._explain(candidates)
            self.on_event(Racing(tuple(candidates)))
            try:
                plans = self._raced(run_id, candidates)
            except CutOffError:
                self.reason = f"the budget ended before the last round, so this plan is not raced yet {self._goes_on()}"
                return self.screened_plans(run_id, without=fallen)
            if plans:
                self.decided = True
                return plans
            fallen |= {*candidates}
            if time.monotonic() >= self.deadline:
                self.reason = f"the budget ended before the last round was clear {self._goes_on()}"
                return self.screened_plans(run_id, without=fallen)
        self.decided = self.reason != OUT_OF_TIME
        self.reason = self._nothing_found()
        return []

    def _nothing_found(self) -> str:
        """Return why there is no plan, and what to do where the search is not at its end."""
        better = f"faster than {self._baseline()} and as good"
        if self.decided:
            return f"nothing that was tried is {better}"
        missed = "but the baseline was tried" if len(self.trials) == 1 else f"{better} was found"
        return f"the budget ended before anything {missed} (the same command goes on)"

    def _search(self) -> None:
        sampler = BayesianSampler(self.space, self.task.device, self.task.tolerance, first=self.first)
        known = list(self.trials)
        self.crew.join(sampler.leave)
        limits = (self.task.tolerance, self.deadline, self.most)
        possible = ways(self.space, self.begin)
        for happened in study(self.evaluator, sampler, known, *limits, possible, self.crew, self._kept_s):
            self.note(happened)
        if time.monotonic() >= self.deadline - self._kept_s():
            self.reason = OUT_OF_TIME
        elif len(self.trials) >= self.most:
            self.reason = "the number of trials was reached"
        else:
            self.reason = "nothing better is expected"

    def _kept_s(self, share: float = LAST_ROUND) -> float:
        """Return how much time must be left for the last round: that share of the budget, or what it takes.

        Nothing as long as there is no baseline: who has too small a budget has that at least, and goes on from there.
        """
        if baseline_of(self.trials) is None:
            return 0.0
        return min(AT_MOST * self.budget_s, max(share * self.budget_s, self._last_round_s()))

    def _last_round_s(self) -> float:
        """Return how long it takes to race who would race now, and to make the images that the winner still lacks."""
        candidates = conclude.finalists(self.trials, self.task.tolerance)
        return SLACK * self._race_s(candidates) + self._confirming_s(candidates)

    def _race_s(self, candidates: Sequence[Recipe]) -> float:
        return conclude.race_s(candidates, self.trials, together=self._fit_together(candidates))

    def _fit_together(self, candidates: Sequence[Recipe]) -> bool:
        runners = {self.evaluator.baseline, *candidates}
        return conclude.fit_together(runners, self.trials, self.task, SPARE_BYTES)

    def _confirming_s(self, candidates: Sequence[Recipe]) -> float:
        return SLACK * conclude.confirming_s(candidates, self.trials, len(self.task.prompts))

    def _goes_on(self) -> str:
        """Return what to do where the budget ended too early, in brackets: by then there may be more to race."""
        candidates = conclude.finalists(self.trials, self.task.tolerance)
        another_s = self._race_s(candidates[-1:]) - self._race_s([])
        more_s = SLACK * another_s * (conclude.FINALISTS - len(candidates))
        enough_s = 10 * math.ceil((self._last_round_s() + more_s) / AT_MOST / 10)
        longer = f", and --budget {enough_s}s is enough for it" if enough_s > self.budget_s else ""
        return f"(the same command goes on{longer})"

    def _explain(self, candidates: Sequence[Recipe]) -> None:
        """Try the best recipe without each of its knobs, where that was not done on the way and leaves time to race."""
        best = min(trial.cost for trial in self.trials if trial.feasible(self.task.tolerance))
        deadline = self.deadline - self._kept_s(RACING)
        for recipe in conclude.neighbours(candidates[0], self.space, self.trials):
            if time.monotonic() >= deadline or len(self.trials) >= self.most:
                return
            self.note(recipe)
            try:
                self.note(self.evaluator.evaluate(len(self.trials), recipe, best, deadline))
            except CutOffError:
                return

    def _raced(self, run_id: str, candidates: Sequence[Recipe]) -> list[Plan]:
        self.evaluator.recall(self.trials)  # another way may have turned out to be the fastest baseline
        spare_s = max(CONFIRMING * self.budget_s, self._confirming_s(candidates)) if self.task.scorer else 0.0
        together = self._fit_together(candidates)
        lanes = race(self.evaluator, candidates, self.deadline, together=together, spare_s=spare_s)
        tried = {trial.recipe: trial.quality for trial in self.trials}
        qualities = {lane.recipe: tried.get(lane.recipe) for lane in lanes[1:]}
        while won := conclude.winner(lanes, qualities, self.task.tolerance):
            best, tie = won
            quality = self._confirmed(best.recipe) or qualities[best.recipe]
            if quality is None or quality.shortfall(self.task.tolerance) <= 0:
                break
            qualities[best.recipe] = quality
        else:
            return []
        others = self.screened_plans(run_id, without={lane.recipe for lane in lanes})
        gains = conclude.gains_of(best.recipe, self.trials, self.space)
        notes = (*filter(None, (tie,)), *doubts(self.trials, lanes))
        plan = conclude.raced_plan(self.task.scope, run_id, best, lanes[0], quality, gains, notes)
        return [plan, *(other for other in others if other.peak_memory_bytes < plan.peak_memory_bytes)]

    def _confirmed(self, recipe: Recipe) -> Quality | None:
        """Return what the images of more prompts say of a recipe; None where there is no time to make any."""
        try:
            return self.evaluator.quality(recipe, self.deadline)
        except TrialFailure:
            return None

    def _baseline(self) -> str:
        baseline = baseline_of(self.trials)
        if baseline is None or baseline.recipe == UNMODIFIED:
            return "the unmodified pipeline"
        fits = "" if baseline.recipe == self.begin else "; the unmodified pipeline does not fit"
        return f"the baseline ({baseline.recipe}{fits})"

    def screened_plans(self, run_id: str, without: set[Recipe] | None = None) -> list[Plan]:
        """Return the plans of the front as the trials alone show it, fastest first."""
        baseline = baseline_of(self.trials)
        if baseline is None:
            return []
        plans = []
        for trial in sorted(front(self.trials, self.task.tolerance), key=lambda trial: trial.cost):
            if trial.recipe not in (without or set()) | {baseline.recipe}:
                gains = conclude.gains_of(trial.recipe, self.trials, self.space)
                plans.append(conclude.screened_plan(self.task.scope, run_id, trial, baseline, gains))
        notes = doubts(self.trials)
        return [plan.model_copy(update={"notes": notes}) for plan in plans if plan]


def _memory_limit_bytes(machine: Machine) -> int:
    return max(SPARE_BYTES, machine.memory.free_bytes - SPARE_BYTES)
