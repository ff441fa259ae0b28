"""Trying a recipe for real: in a process of its own, cheapest questions first."""

from __future__ import annotations

import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from ..errors import TrialProcessError
from ..value import key_of
from .additions import distilled_in
from .assemble import builds, environment
from .baseline import baseline_of
from .measured import Latency, Outcome, Quality, Trial
from .recipe import UNMODIFIED, Recipe
from .trial.process import Template, TrialFailure, TrialProcess
from .verdict import lower_bound

if TYPE_CHECKING:
    from collections.abc import Collection

    from .task import Task

BUILD_LIMIT_S = 1800  # converting and quantizing a UNet of SD 1.5's size took 7 to 15 minutes on two shared cores
LOAD_LIMIT_S = 600
SCORE_LIMIT_S = 300
CALL_LIMIT = 20  # a call may take this many times the baseline's, and CALL_FLOOR_S in any case
CALL_FLOOR_S = 30
FIRST_CALLS = 3
SLOW = 1.15  # slower than the best by more than this, and no images are made


class CutOffError(Exception):
    """The search's own deadline came in the middle of a trial: it says nothing about the recipe."""


class Evaluator(Protocol):
    """What the study needs to know of how recipes are tried."""

    def evaluate(self, number: int, recipe: Recipe, best_ms: float, deadline: float) -> Trial:
        """Try a recipe. best_ms: the best feasible latency so far; deadline: of `time.monotonic`.

        Raises CutOffError at the deadline.
        """
        ...


class IsolatedEvaluator:
    """Tries recipes in forked processes, and scores their images in another one."""

    def __init__(self, task: Task, modules: tuple[str, ...], memory_limit_bytes: int | None = None) -> None:
        """Prepare. modules: what trials will import, so that the template can beforehand."""
        self.task = task
        self.template = Template(modules, memory_limit_bytes)
        self._modules, self._memory_limit_bytes = modules, memory_limit_bytes
        self._others: dict[str, Template] = {}
        self._scorer: TrialProcess | None = None
        self._scores: dict[tuple[str, int], float] = {}
        self.baseline = UNMODIFIED
        self._baseline_ms: float | None = None

    def __enter__(self) -> Self:
        """Start the template, and a folder for images."""
        self._folder = Path(tempfile.mkdtemp(prefix="autotune-tuning-"))
        self.template.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """End every process, and remove the images."""
        self._drop_scorer()
        for template in (self.template, *self._others.values()):
            template.__exit__(*error)
        shutil.rmtree(self._folder, ignore_errors=True)

    def recall(self, trials: Collection[Trial]) -> None:
        """Take over what trials of the same scope found out, so that it is not measured again."""
        if found := baseline_of(trials):
            self.baseline, self._baseline_ms = found.recipe, found.median_ms
        for trial in trials:
            scores = trial.quality.scores if trial.quality else ()
            self._scores |= {(trial.recipe.key, index): score for index, score in enumerate(scores)}

    def evaluate(self, number: int, recipe: Recipe, best_ms: float, deadline: float) -> Trial:
        """Try a recipe: load, make a few calls, and only if it may win, the images that judge it."""
        facts: dict[str, Any] = {}
        started_at, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        outcome: Outcome = "ok"
        detail = ""
        try:
            self._measure(recipe, best_ms, deadline, facts)
        except TrialFailure as failure:
            if failure.outcome == "timeout" and time.monotonic() >= deadline:
                raise CutOffError from failure
            outcome, detail = failure.outcome, failure.detail
        return Trial(
            number=number,
            recipe=recipe,
            outcome=outcome,
            detail=detail,
            started_at=started_at,
            duration_s=time.monotonic() - started,
            **facts,
        )

    def _measure(self, recipe: Recipe, best_ms: float, deadline: float, facts: dict[str, Any]) -> None:
        """Fill `facts` with what is found out, in the order in which it is."""
        samples_ms: list[float] = []
        with self.opened(recipe, deadline, facts) as process:
            for first, last in self._portions():
                samples_ms += self.run(process, recipe, range(first, last), deadline, facts)
                facts["latency"] = Latency(samples_ms=tuple(samples_ms))
                if facts["latency"].median_ms > SLOW * best_ms:
                    detail = f"{facts['latency'].median_ms:.0f} ms a call, {best_ms:.0f} ms is the best so far."
                    raise TrialFailure("slow", detail)
        if self._baseline_ms is None:  # the first that can be measured is what the others are compared with
            self.baseline, self._baseline_ms = recipe, facts["latency"].median_ms
        facts["quality"] = self.quality(recipe, self.task.screening, deadline)

    def _portions(self) -> list[tuple[int, int]]:
        """Return the prompts in portions: one call tells a hopeless recipe, a few a slow one, the rest its quality."""
        ends = sorted(
            {1, min(FIRST_CALLS, self.task.screening), self.task.screening if self.task.scorer else FIRST_CALLS}
        )
        return list(zip([0, *ends], ends, strict=False))

    def opened(self, recipe: Recipe, deadline: float, facts: dict[str, Any]) -> TrialProcess:
        """Return a process with the recipe's pipeline loaded and warm; what it needs is built first, in another one."""
        self.built(recipe, deadline)
        process = self._template(recipe).fork()
        try:
            facts |= process.ask({"do": "load", "order": self._order(recipe)}, self._limit(LOAD_LIMIT_S, deadline))
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
            self._others[key] = Template(self._modules, self._memory_limit_bytes, asked).__enter__()
        return self._others[key]

    def run(
        self, process: TrialProcess, recipe: Recipe, prompts: range, deadline: float, facts: dict[str, Any]
    ) -> list[float]:
        """Make one call for each of these prompts, and return the wall times in milliseconds."""
        command = {
            "do": "run",
            "prompts": [self.task.prompts[index] for index in prompts],
            "seeds": [self.task.seeds[index] for index in prompts],
            "folder": str(self._place(recipe, "images")),
        }
        call_s = CALL_FLOOR_S + CALL_LIMIT * (self._baseline_ms or 3_600_000) / 1000
        answer = process.ask(command, self._limit(call_s * len(prompts), deadline))
        facts["peak_memory_bytes"] = answer["peak_memory_bytes"]
        samples: list[float] = answer["latency_ms"]
        return samples

    def images(self, recipe: Recipe) -> dict[int, Path]:
        """Return the images of a recipe that this sitting made, by the places of their prompts."""
        files = {index: self._image(recipe, index) for index in range(len(self.task.prompts))}
        return {index: file for index, file in files.items() if file.exists()}

    def quality(self, recipe: Recipe, count: int, deadline: float) -> Quality | None:
        """Return how the recipe's first `count` images compare with the baseline's; None without a scorer."""
        if self.task.scorer is None:
            return None
        scores, baseline = self._scored(recipe, count, deadline), self._scored(self.baseline, count, deadline)
        differences = [score - other for score, other in zip(scores, baseline, strict=True)]
        return Quality(
            scorer=self.task.scorer_id,
            scores=tuple(scores),
            baseline_scores=tuple(baseline),
            bound=lower_bound(differences),
            likeness=self._likeness(recipe, count, deadline),
        )

    def _likeness(self, recipe: Recipe, count: int, deadline: float) -> tuple[float, ...]:
        """Return how like the baseline's the images are; of an earlier sitting there are scores, but no images.

        Nothing is said of a distilled variant's: it is another model, whose images are not meant to be the same.
        """
        pairs = [(self._image(recipe, index), self._image(self.baseline, index)) for index in range(count)]
        at_hand = [pair for pair in pairs if pair[0].exists() and pair[1].exists()]
        if recipe == self.baseline or distilled_in(recipe) or not at_hand:
            return ()
        files, references = zip(*at_hand, strict=True)
        command = {"do": "compare", "files": list(map(str, files)), "references": list(map(str, references))}
        return tuple(self._asked_scorer(command, recipe, deadline)["likeness"])

    def _scored(self, recipe: Recipe, count: int, deadline: float) -> list[float]:
        missing = [index for index in range(count) if (recipe.key, index) not in self._scores]
        if missing:
            command = {
                "do": "score",
                "scorer": str(self.task.scorer),
                "files": [str(self._image(recipe, index)) for index in missing],
                "prompts": [self.task.prompts[index] for index in missing],
            }
            scores = self._asked_scorer(command, recipe, deadline)["scores"]
            self._scores |= {(recipe.key, index): score for index, score in zip(missing, scores, strict=True)}
        return [self._scores[recipe.key, index] for index in range(count)]

    def _asked_scorer(self, command: dict[str, Any], recipe: Recipe, deadline: float) -> dict[str, Any]:
        """Return its answer; a scorer that an earlier call started may have been killed since, and is replaced.

        Raises TrialProcessError where a fresh one fails: that is no fault of the recipe's.
        """
        standing = self._scorer is not None
        self._scorer = self._scorer or self.template.fork()
        try:
            return self._scorer.ask(command, self._limit(SCORE_LIMIT_S, deadline))
        except TrialFailure as failure:
            self._drop_scorer()
            if time.monotonic() >= deadline:
                raise
            if standing:
                return self._asked_scorer(command, recipe, deadline)
            msg = f"The scorer in {self.task.scorer} could not score the images of {recipe}. {failure.detail}"
            raise TrialProcessError(msg) from failure

    def _drop_scorer(self) -> None:
        if self._scorer:
            self._scorer.__exit__()
            self._scorer = None

    def _image(self, recipe: Recipe, index: int) -> Path:
        return self._place(recipe, "images") / f"{self.task.seeds[index]}.png"

    def _place(self, recipe: Recipe, what: str) -> Path:
        return self._folder / recipe.key.replace(" ", "_") / what

    @staticmethod
    def _limit(limit_s: float, deadline: float) -> float:
        return max(0.0, min(limit_s, deadline - time.monotonic()))
