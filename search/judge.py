"""Scoring images in a process of its own, beside the baseline's of the same prompts and seeds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..errors import TrialProcessError
from .additions import distilled_in
from .measured import Quality
from .trial.answers import A, Compared, Scored, understood
from .trial.failure import TrialFailure
from .verdict import judged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .recipe import Recipe
    from .task import Task
    from .trial.process import Template, TrialProcess

SCORE_LIMIT_S = 300


class Judge:
    """Keeps every score that it was told or that its process found, so that no image is scored twice."""

    def __init__(self, task: Task, template: Template, image: Callable[[Recipe, int], Path]) -> None:
        """Prepare. image: where a recipe's image of the n-th prompt lies; the process starts when it is needed."""
        self._task, self._template, self._image = task, template, image
        self._process: TrialProcess | None = None
        self._scores: dict[tuple[str, int], float] = {}

    def dismiss(self) -> None:
        """End the process; another one starts when it is needed."""
        if self._process:
            self._process.__exit__()
            self._process = None

    def recall(self, recipe: Recipe, baseline: Recipe, quality: Quality) -> None:
        """Take over the scores of an earlier sitting."""
        for who, scores in ((recipe, quality.scores), (baseline, quality.baseline_scores)):
            self._scores |= {(who.key, index): score for index, score in enumerate(scores)}

    def knows(self, recipe: Recipe, index: int) -> bool:
        """Return whether the n-th image of a recipe has been scored."""
        return (recipe.key, index) in self._scores

    def scores(self, recipe: Recipe, count: int, deadline: float) -> Sequence[float]:
        """Return the scores of a recipe's first `count` images, which are there or were scored before."""
        missing = [index for index in range(count) if not self.knows(recipe, index)]
        if missing:
            command = {
                "do": "score",
                "scorer": str(self._task.scorer),
                "files": [str(self._image(recipe, index)) for index in missing],
                "prompts": [self._task.prompts[index] for index in missing],
            }
            scores = self._asked(command, Scored, recipe, deadline).scores
            self._scores |= {(recipe.key, index): score for index, score in zip(missing, scores, strict=True)}
        return [self._scores[recipe.key, index] for index in range(count)]

    def quality(self, recipe: Recipe, baseline: Recipe, count: int, deadline: float) -> Quality:
        """Return how a recipe's first `count` images compare with the baseline's."""
        own, other = (self.scores(each, count, deadline) for each in (recipe, baseline))
        return Quality(
            scorer=self._task.scorer_id,
            scores=tuple(own),
            baseline_scores=tuple(other),
            bound=judged((own, other), self._task.tolerance, len(self._task.prompts)).bound,
            likeness=self._likeness(recipe, baseline, count, deadline),
        )

    def _likeness(self, recipe: Recipe, baseline: Recipe, count: int, deadline: float) -> tuple[float, ...]:
        """Return how like the baseline's the images are; of an earlier sitting there are scores, but no images.

        Nothing is said of a distilled variant's: it is another model, whose images are not meant to be the same.
        """
        pairs = [(self._image(recipe, index), self._image(baseline, index)) for index in range(count)]
        at_hand = [pair for pair in pairs if pair[0].exists() and pair[1].exists()]
        if recipe == baseline or distilled_in(recipe) or not at_hand:
            return ()
        files, references = zip(*at_hand, strict=True)
        command = {"do": "compare", "files": list(map(str, files)), "references": list(map(str, references))}
        return self._asked(command, Compared, recipe, deadline).likeness

    def _asked(self, command: dict[str, Any], kind: type[A], recipe: Recipe, deadline: float) -> A:
        """Return its answer; a process that an earlier call started may have been killed since, and is replaced.

        Raises TrialProcessError where a fresh one fails: that is no fault of the recipe's.
        """
        standing = self._process is not None
        self._process = self._process or self._template.fork()
        try:
            answer = self._process.ask(command, max(0.0, min(SCORE_LIMIT_S, deadline - time.monotonic())))
            return understood(kind, answer, len(command["files"]))
        except TrialFailure as failure:
            self.dismiss()
            if time.monotonic() >= deadline:
                raise
            if standing:
                return self._asked(command, kind, recipe, deadline)
            msg = f"The scorer in {self._task.scorer} could not score the images of {recipe}. {failure.detail}"
            raise TrialProcessError(msg) from failure
