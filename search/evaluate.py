"""Trying a recipe for real: in a process of its own, cheapest questions first."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from ..probes.load import between, glance
from ..probes.power import energy_j, spent_j
from ..probes.watch import Watch
from ..value import key_of
from .assemble import builds, environment, has_uneven_steps
from .baseline import baseline_of
from .calls import Calls
from .drift import Drift
from .judge import Judge
from .measured import Latency, Quality, Trial
from .objective import LATENCY
from .pace import FIRST_CALLS, STOP, is_enough, is_hopeless
from .recipe import UNMODIFIED, Recipe
from .trial.answers import GivenUp, Loaded, Ran, understood
from .trial.failure import TrialFailure
from .trial.process import Template, TrialProcess
from .trial.silence import SILENCE_S
from .trial.untouched import told
from .verdict import Judgement, looks, until_clear

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .task import Task
    from .verdict import Scores

BUILD_LIMIT_S = 1800  # converting and quantizing a UNet of SD 1.5's size took 7 to 15 minutes on two shared cores
LOAD_LIMIT_S = 600
CALL_LIMIT = 20  # a call may take this many times the baseline's, and CALL_FLOOR_S in any case
CALL_FLOOR_S = 30
REST_S = 30.0
SCORING_S = 60  # images that were made in time are scored
WATCHED_MS = 500  # what others do is looked up about as often as this, in between calls


class CutOffError(Exception):
    """The search's own deadline came in the middle of a trial: it says nothing about the recipe."""


class Evaluator(Protocol):
    """What the study needs to know of how recipes are tried."""

    def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        """Try a recipe. best: the lowest feasible cost so far; deadline: of `time.monotonic`.

        Raises CutOffError at the deadline.
        """
        ...


class IsolatedEvaluator:
    """Tries recipes in forked processes, and scores their images in another one."""

    def __init__(self, task: Task, modules: tuple[str, ...], memory_limit_bytes: int | None = None) -> None:
        """Prepare. modules: what trials will import, so that the template can beforehand."""
        self.task = task
        self._modules, self._memory_limit_bytes = modules, memory_limit_bytes
        self.template = self._new_template()
        self._others: dict[str, Template] = {}
        self._judge = Judge(task, self.template, self._image)
        self.baseline = UNMODIFIED
        self._baseline_ms: float | None = None
        self._drift = Drift()
        self._watch = Watch(task.device)

    def __enter__(self) -> Self:
        """Start the template, and a folder for images."""
        self._folder = Path(tempfile.mkdtemp(prefix="autotune-tuning-"))
        self._watch.__enter__()
        self.template.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """End every process, and remove the images."""
        self._judge.dismiss()
        self._watch.__exit__()
        for template in (self.template, *self._others.values()):
            template.__exit__(*error)
        shutil.rmtree(self._folder, ignore_errors=True)

    def recall(self, trials: Collection[Trial]) -> None:
        """Take over what trials of the same scope found out, so that it is not measured again."""
        found = baseline_of(trials)
        if found and (self._baseline_ms is None or found.recipe != self.baseline):
            self._take_as_baseline(found)
            self._drift.doubt()
        for trial in trials:
            if found and trial.quality:
                self._judge.recall(trial.recipe, found.recipe, trial.quality)

    def bring_back(self, index: int, file: Path) -> None:
        """Take over the baseline's image of the n-th prompt, which an earlier sitting made."""
        place = self._image(self.baseline, index)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)

    def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        """Try a recipe: load, make a few calls, and only if it may win, the images that judge it.

        One that was too slow while others used more of the machine than before is tried once more, if the baseline is
        slower now too by so much that it may not be the recipe's fault.
        """
        self._look_at_baseline(deadline)
        trial = self._tried(number, recipe, best, deadline)
        self._drift.heard(trial)
        if trial.outcome == "ok" and self._baseline_ms is None:
            self._take_as_baseline(trial)
        if trial.outcome == "slow" and self._drift.changed and self._look_at_baseline(deadline, anyhow=True):
            fair = trial.cost * trial.drift / self._drift.factor
            return trial if fair > best else self._tried(number, recipe, best, deadline)
        return trial

    def _tried(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        started_at, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        facts, failure = self._attempted(recipe, best, deadline)
        if failure and failure.blameless:
            facts, failure = self._attempted(recipe, best, deadline)
        return Trial(
            number=number,
            recipe=recipe,
            outcome=failure.outcome if failure else "ok",
            detail=failure.detail if failure else "",
            started_at=started_at,
            duration_s=time.monotonic() - started,
            **facts,
        )

    def _attempted(self, recipe: Recipe, best: float, deadline: float) -> tuple[dict[str, Any], TrialFailure | None]:
        """Return what was found out, and what went wrong."""
        facts: dict[str, Any] = {"drift": self._drift.factor}
        try:
            self._measure(recipe, best * self._drift.factor, deadline, facts)
        except TrialFailure as failure:
            if failure.outcome == "timeout" and time.monotonic() >= deadline:
                raise CutOffError from failure
            return facts, failure
        return facts, None

    def _measure(self, recipe: Recipe, best: float, deadline: float, facts: dict[str, Any]) -> None:
        """Fill `facts` with what is found out, in the order in which it is. best: as it would be now."""
        calls = Calls()
        if self._baseline_ms is not None and self.task.compares_images:
            self._have(self.baseline, self.task.screening, deadline)
        with self.opened(recipe, deadline, facts) as process:
            best_ms = self.task.objective.call_ms(best, facts["load_s"], facts["cold_s"])
            while not calls.samples_ms or not is_enough(calls.latency, best_ms):
                index = len(calls.samples_ms) % self.task.screening
                limit_ms = None if calls.samples_ms or has_uneven_steps(recipe) else STOP * best_ms
                calls += self.run(process, recipe, range(index, index + 1), deadline, facts, limit_ms)
                self._note(calls, facts)
                beside = self._drift.is_more_or_less(calls.load)
                if is_hopeless(calls.latency, best_ms, beside_others=beside):
                    detail = f"{facts['latency'].median_ms:.0f} ms a call, {best_ms:.0f} ms is the best so far."
                    raise TrialFailure("slow", detail)
            if self._baseline_ms is None:  # the first that can be measured is what the others are compared with
                self.baseline = recipe
            if self.task.scorer:
                found = self._judged(process, recipe, calls, deadline, facts)
                self._note(calls, facts)
        if self.task.scorer:
            if found.verdict == "open":
                found = self._judged_by_more(recipe, deadline)
            facts["quality"] = self._judge.quality(recipe, self.baseline, found.images, deadline)

    def _judged(
        self, process: TrialProcess, recipe: Recipe, calls: Calls, deadline: float, facts: dict[str, Any]
    ) -> Judgement:
        """Make images until it is clear whether they are as good, as far as the baseline's images go at first."""
        count = self.task.screening
        if recipe == self.baseline:
            calls += self._made(process, recipe, count, deadline, facts)
            return Judgement("good", 0.0, count)

        def scored(count: int) -> Scores:
            nonlocal calls
            calls += self._made(process, recipe, count, deadline, facts)
            return self._scores(recipe, count, deadline)

        few = [look for look in self._looks if look <= count]
        return until_clear(scored, self.task.tolerance, len(self.task.prompts), few)

    def _judged_by_more(self, recipe: Recipe, deadline: float) -> Judgement:
        """Go on with as many images as it takes; the baseline's come first, once, while nothing else is loaded."""
        most = len(self.task.prompts)
        self._have(self.baseline, most, deadline)
        more = [look for look in self._looks if look > self.task.screening]
        facts: dict[str, Any] = {}
        with self.opened(recipe, deadline, facts) as process:

            def scored(count: int) -> Scores:
                self._made(process, recipe, count, deadline, facts)
                return self._scores(recipe, count, deadline)

            return until_clear(scored, self.task.tolerance, most, more)

    @property
    def _looks(self) -> tuple[int, ...]:
        return looks(len(self.task.prompts))

    def _scores(self, recipe: Recipe, count: int, deadline: float) -> Scores:
        return self._judge.scores(recipe, count, deadline), self._judge.scores(self.baseline, count, deadline)

    def _made(self, process: TrialProcess, recipe: Recipe, count: int, deadline: float, facts: dict[str, Any]) -> Calls:
        """Make those of the recipe's first `count` images that are not there, and return the calls."""
        return self.run(process, recipe, self._missing(recipe, count), deadline, facts)

    def _missing(self, recipe: Recipe, count: int) -> list[int]:
        made = self.images(recipe)
        looked_at = recipe == self.baseline and self.task.compares_images  # what was scored may be gone since
        return [
            index for index in range(count) if index not in made and (looked_at or not self._judge.knows(recipe, index))
        ]

    def _have(self, recipe: Recipe, count: int, deadline: float) -> None:
        """Make those of the recipe's first `count` images that are not there, in a process for that alone."""
        if self._missing(recipe, count):
            facts: dict[str, Any] = {}
            with self.opened(recipe, deadline, facts) as process:
                self._made(process, recipe, count, deadline, facts)

    def quality(self, recipe: Recipe, deadline: float) -> Quality | None:
        """Return how the recipe's images compare with the baseline's, of as many prompts as there is time for.

        First those of which the baseline has its image, then all. None without a scorer. Raises TrialFailure where the
        deadline leaves no time for any.
        """
        if self.task.scorer is None:
            return None
        most = len(self.task.prompts)
        count = min([*self._missing(self.baseline, most), most])
        self._have(recipe, count, deadline)
        with suppress(TrialFailure):
            self._have(self.baseline, most, deadline)
            self._have(recipe, most, deadline)
            count = most
        return self._judge.quality(recipe, self.baseline, count, deadline + SCORING_S)

    def _note(self, calls: Calls, facts: dict[str, Any]) -> None:
        facts |= {"latency": calls.latency, "load": calls.load}
        if self.task.objective != LATENCY:
            kept_ms = calls.latency.kept_ms
            ready = (facts["load_s"], facts["cold_s"])
            facts["costs"] = self.task.objective.costs(kept_ms, *ready, calls.energy_j)

    def _take_as_baseline(self, trial: Trial) -> None:
        self.baseline, self._baseline_ms = trial.recipe, trial.median_ms
        self._drift.begin(trial)

    def _look_at_baseline(self, deadline: float, *, anyhow: bool = False) -> bool:
        """Measure the baseline again where that is due, or `anyhow` where there is time, and return whether it was."""
        if not self._drift.is_due(deadline - time.monotonic(), anyhow=anyhow):
            return False
        facts: dict[str, Any] = {}
        try:
            with self.opened(self.baseline, deadline, facts) as process:
                calls = self.run(process, self.baseline, range(FIRST_CALLS), deadline, facts)
        except TrialFailure:  # it says nothing of the recipe that is to be tried
            return False
        self._drift.note(calls.latency.median_ms, calls.load)
        return True

    def opened(self, recipe: Recipe, deadline: float, facts: dict[str, Any]) -> TrialProcess:
        """Return a process with the recipe's pipeline loaded and warm; what it needs is built first, in another one."""
        self.built(recipe, deadline)
        process = self._template(recipe).fork()
        try:
            answer = process.ask({"do": "load", "order": self._order(recipe)}, self._limit(LOAD_LIMIT_S, deadline))
            facts |= understood(Loaded, answer).model_dump()
        except BaseException:
            process.__exit__()
            raise
        return process

    def built(self, recipe: Recipe, deadline: float) -> None:
        """Make the artifacts that a recipe needs and that are not there yet, in a process that ends with it."""
        if builds(recipe):
            with self.template.fork() as process:
                command = {"do": "build", "order": self._order(recipe)}
                process.ask(command, self._limit(BUILD_LIMIT_S, deadline))

    def _order(self, recipe: Recipe) -> dict[str, Any]:
        return self.task.order(recipe, self._place(recipe, "compiled")).model_dump(mode="json")

    def _template(self, recipe: Recipe) -> Template:
        """Return the template that was started as the recipe asks, which for nearly all is the plain one."""
        asked = environment(recipe, self.task.machine.software)
        if not asked:
            return self.template
        key = key_of(asked)
        if key not in self._others:
            self._others[key] = self._new_template(asked).__enter__()
        return self._others[key]

    def _new_template(self, environment: Mapping[str, str] | None = None) -> Template:
        silence_s = SILENCE_S if self.task.device == "cpu" else math.inf
        asked = {**told(self.task.machine), **(environment or {})}
        return Template(self._modules, self._memory_limit_bytes, asked, silence_s)

    def run(  # noqa: PLR0913 - all of a call
        self,
        process: TrialProcess,
        recipe: Recipe,
        prompts: Sequence[int],
        deadline: float,
        facts: dict[str, Any],
        limit_ms: float | None = None,
    ) -> Calls:
        """Make one call for each of these prompts, and look at what else goes on about every half second.

        Calls during which a GPU was slowed down for its heat are made again, once, when it has cooled down.
        limit_ms: what a call may take; where its first steps say that it will take longer, it is given up as slow.
        """
        calls, has_rested = Calls(), False
        while left := prompts[len(calls.samples_ms) :]:
            known_ms = calls.samples_ms[-1:] or [self._baseline_ms or WATCHED_MS]
            portion = left[: max(1, int(WATCHED_MS / known_ms[0]))]
            self._watch.seen()  # what was there before is not of these calls
            before, before_j = glance(), self._energy()
            answer = self._called(process, recipe, portion, deadline, limit_ms)
            facts["peak_memory_bytes"] = answer.peak_memory_bytes
            load, after_j = self._watch.added(between(before, glance())), self._energy()
            if isinstance(answer, GivenUp):
                facts |= {"latency": Latency(samples_ms=(answer.at_least_ms,), at_least=True), "load": load}
                detail = f"{answer.at_least_ms:.0f} ms a call at least, by {answer.done} of {answer.steps} steps."
                raise TrialFailure("slow", detail)
            if load.gpu_slowed and not has_rested:
                has_rested = True
                self._watch.rest(min(REST_S, deadline - time.monotonic()))
                continue
            calls.add(answer, load, spent_j(before_j, after_j) if before_j and after_j else None)
        return calls

    def _energy(self) -> tuple[float, ...] | None:
        return energy_j(self.task.device) if self.task.objective.kind == "energy" else None

    def _called(
        self, process: TrialProcess, recipe: Recipe, prompts: Sequence[int], deadline: float, limit_ms: float | None
    ) -> Ran | GivenUp:
        command = {
            "do": "run",
            "prompts": [self.task.prompts[index] for index in prompts],
            "seeds": [self.task.seeds[index] for index in prompts],
            "folder": str(self._place(recipe, "images")),
            "limit_ms": limit_ms if limit_ms is not None and math.isfinite(limit_ms) else None,
        }
        call_s = CALL_FLOOR_S + CALL_LIMIT * (self._baseline_ms or 3_600_000) / 1000
        answer = process.ask(command, self._limit(call_s * len(prompts), deadline))
        if "at_least_ms" in answer:
            return understood(GivenUp, answer)
        return understood(Ran, answer, len(prompts))

    def images(self, recipe: Recipe) -> dict[int, Path]:
        """Return the images of a recipe that this sitting made, by the places of their prompts."""
        files = {index: self._image(recipe, index) for index in range(len(self.task.prompts))}
        return {index: file for index, file in files.items() if file.exists()}

    def _image(self, recipe: Recipe, index: int) -> Path:
        return self._place(recipe, "images") / f"{self.task.seeds[index]}.png"

    def _place(self, recipe: Recipe, what: str) -> Path:
        return self._folder / recipe.key.replace(" ", "_") / what

    @staticmethod
    def _limit(limit_s: float, deadline: float) -> float:
        return max(0.0, min(limit_s, deadline - time.monotonic()))
