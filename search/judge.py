"""Scoring images in a process of its own, beside the baseline's of the same prompts and seeds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..errors import TrialProcessError
from .additions import distilled_in
from .measured import Quality, Worst
from .trial.answers import A, Compared, Scored, Witnessed, understood
from .trial.failure import TrialFailure
from .verdict import judged
from .witness import Witness, kind_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from .recipe import Recipe
    from .task import Task
    from .trial.process import Template, TrialProcess

SCORE_LIMIT_S = 300
WORST = 3
"""So many of the images that lost most are named."""


class Judge:
    """Keeps every score that it was told or that its process found, so that no image is scored twice."""

    def __init__(self, task: Task, template: Template, image: Callable[[Recipe, int], Path]) -> None:
        """Prepare. image: where a recipe's image of the n-th prompt lies; the process starts when it is needed."""
        self._task, self._template, self._image = task, template, image
        self._process: TrialProcess | None = None
        self._scores: dict[tuple[str, int], float] = {}
        self._alike: dict[tuple[str, int], tuple[float, float]] = {}
        self._told: dict[tuple[str, str, int], float] = {}  # by a witness, of a recipe's n-th image

    def dismiss(self) -> None:
        """End the process; another one starts when it is needed."""
        if self._process:
            self._process.__exit__()
            self._process = None

    def recall(self, recipe: Recipe, baseline: Recipe, quality: Quality) -> None:
        """Take over the scores of an earlier sitting, and what else was said of the images where it was of all."""
        for who, scores in ((recipe, quality.scores), (baseline, quality.baseline_scores)):
            self._scores |= {(who.key, index): score for index, score in enumerate(scores)}
        if len(quality.likeness) == len(quality.psnr) == len(quality.scores):
            for index, alike in enumerate(zip(quality.likeness, quality.psnr, strict=True)):
                self._alike.setdefault((recipe.key, index), alike)
        for witness in quality.witnesses:
            if len(witness.figures) == len(quality.scores):
                for who, figures in ((recipe, witness.figures), (baseline, witness.baseline_figures)):
                    self._told |= {(witness.model, who.key, index): figure for index, figure in enumerate(figures)}

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
        """Return how a recipe's first `count` images compare with the baseline's.

        Raises TrialFailure where one has another size than the baseline's, or is noise.
        """
        alike = self._compared(recipe, baseline, count, deadline)
        own, other = (self.scores(each, count, deadline) for each in (recipe, baseline))
        return Quality(
            scorer=self._task.scorer_id,
            scores=tuple(own),
            baseline_scores=tuple(other),
            bound=judged((own, other), self._task.tolerance, len(self._task.prompts)).bound,
            worst=self._worst([mine - its for mine, its in zip(own, other, strict=True)]),
            likeness=tuple(ssim for ssim, _ in alike),
            psnr=tuple(psnr for _, psnr in alike),
            fidelity="" if recipe == baseline else self._task.fidelity,
            witnesses=() if recipe == baseline else tuple(self._witnesses(recipe, baseline, count, deadline)),
        )

    def _witnesses(self, recipe: Recipe, baseline: Recipe, count: int, deadline: float) -> Iterator[Witness]:
        """Yield what each further model says of the images of which the baseline's are at hand too.

        Of a distilled variant's nobody says how like they are: they are not meant to be.
        """
        for model, folder in self._task.witnesses.items():
            kind = kind_in(folder)
            if kind is None or (kind != "score" and distilled_in(recipe)):
                continue
            self._hear(model, recipe, baseline, count, deadline)
            if kind == "score":
                self._hear(model, baseline, baseline, count, deadline)
            heard = [index for index in range(count) if (model, recipe.key, index) in self._told]
            own = [self._told[model, recipe.key, index] for index in heard]
            alike = {"likeness": 1.0, "distance": 0.0}.get(kind)
            other = [self._told[model, baseline.key, index] if alike is None else alike for index in heard]
            if own:
                yield Witness(model=model, kind=kind, figures=tuple(own), baseline_figures=tuple(other))

    def _hear(self, model: str, recipe: Recipe, baseline: Recipe, count: int, deadline: float) -> None:
        """Ask a model about those images of a recipe that it has not seen yet."""
        unseen = [index for index in range(count) if (model, recipe.key, index) not in self._told]
        if at_hand := self._at_hand(recipe, baseline, unseen):
            files, references = zip(*at_hand.values(), strict=True)
            command = {
                "do": "witness",
                "model": str(self._task.witnesses[model]),
                "files": list(map(str, files)),
                "references": list(map(str, references)),
                "prompts": [self._task.prompts[index] for index in at_hand],
            }
            figures = self._asked(command, Witnessed, recipe, deadline).figures
            self._told |= {(model, recipe.key, index): told for index, told in zip(at_hand, figures, strict=True)}

    def _at_hand(self, recipe: Recipe, baseline: Recipe, indexes: Iterable[int]) -> dict[int, tuple[Path, Path]]:
        """Return those of a recipe's images that are there beside the baseline's, in pairs."""
        pairs = {index: (self._image(recipe, index), self._image(baseline, index)) for index in indexes}
        return {index: pair for index, pair in pairs.items() if all(file.exists() for file in pair)}

    def _worst(self, differences: Sequence[float]) -> tuple[Worst, ...]:
        lost = sorted((difference, index) for index, difference in enumerate(differences) if difference < 0)[:WORST]
        prompts, seeds = self._task.prompts, self._task.seeds
        return tuple(
            Worst(prompt=prompts[index], seed=seeds[index], difference=difference) for difference, index in lost
        )

    def _compared(self, recipe: Recipe, baseline: Recipe, count: int, deadline: float) -> Sequence[tuple[float, float]]:
        """Return SSIM and PSNR with the baseline's images, of those that are at hand or were compared before.

        Nothing is said of a distilled variant's: it is another model, whose images are not meant to be the same.
        """
        if recipe == baseline or distilled_in(recipe):
            return []
        unseen = [index for index in range(count) if (recipe.key, index) not in self._alike]
        if at_hand := self._at_hand(recipe, baseline, unseen):
            files, references = zip(*at_hand.values(), strict=True)
            command = {"do": "compare", "files": list(map(str, files)), "references": list(map(str, references))}
            answer = self._asked(command, Compared, recipe, deadline)
            found = zip(at_hand, zip(answer.likeness, answer.psnr, strict=True), strict=True)
            self._alike |= {(recipe.key, index): alike for index, alike in found}
        return [self._alike[recipe.key, index] for index in range(count) if (recipe.key, index) in self._alike]

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
            if failure.outcome == "bad_image":
                raise
            self.dismiss()
            if time.monotonic() >= deadline:
                raise
            if standing:
                return self._asked(command, kind, recipe, deadline)
            who = command.get("model", self._task.scorer)
            msg = f"The model in {who} could not judge the images of {recipe}. {failure.detail}"
            raise TrialProcessError(msg) from failure
