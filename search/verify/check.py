"""Running recipes on a small pipeline to see what they really do: each knob alone, and every two together."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...probes.model import read_model
from ...value import Value
from ..assemble import choices_of
from ..evaluate import IsolatedEvaluator
from ..knobs import KNOBS
from ..recipe import UNMODIFIED, Recipe
from ..rules import refusal
from ..space import Space, space_for
from ..task import Task, device_of
from ..trial.failure import TrialFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...probes.machine import Machine
    from .architectures import Architecture

PROMPTS, SEED = ("a red circle", "two blue squares", "a green star", "a white line"), 3
LIMIT_S = 600.0
PAIRS_A_RULE = 3

Outcome = Literal["works", "fails", "does nothing"]


class Row(Value):
    """What one recipe did on one architecture.

    refused: why the table has no such recipe here, empty where it allows it; rule: the name of the rule that says so,
    empty where a knob alone does. outcome: `does nothing` where it gives the same image, from a pipeline made of the
    same things, as without one of its knobs; detail: why it fails, or which knob that is. apart: the mean distance of
    its image from the unmodified pipeline's, as a share of a pixel's range; None where it made none. unsteadiness: the
    same between two calls that are just alike.
    """

    architecture: str
    recipe: Recipe
    refused: str = ""
    rule: str = ""
    outcome: Outcome
    detail: str = ""
    apart: float | None = None
    unsteadiness: float = 0.0


@dataclass(frozen=True)
class Seen:
    """What a recipe was seen to do: the traces and images of its pipeline, or how it failed."""

    failure: str = ""
    traces: tuple[str, ...] = ()
    images: Any = None
    unsteadiness: float = 0.0

    def like(self, other: Seen) -> bool:
        """Return whether nothing tells the two apart."""
        return self.traces == other.traces and np.array_equal(self.images, other.images)


def singles() -> list[Recipe]:
    """Return every choice of every knob, alone."""
    return [Recipe(turned={knob.name: choice}) for knob in KNOBS for choice in knob.choices if choice != knob.default]


def breaking(space: Space) -> list[Recipe]:
    """Return some pairs for each rule that refuses any: all of them would be most of the pairs that there are."""
    found: dict[str, list[Recipe]] = {}
    for recipe in pairs(space):
        rule = refusal(choices_of(recipe))
        if rule:
            found.setdefault(rule.name, []).append(recipe)
    return [recipe for recipes in found.values() for recipe in recipes[:: -(-len(recipes) // PAIRS_A_RULE)]]


def pairs(space: Space) -> list[Recipe]:
    """Return every two choices that this machine and this model each allow alone, whatever the rules say of both."""
    turns = [
        turn for recipe in singles() for turn in recipe.turned.items() if turn[1] in space.choices.get(turn[0], ())
    ]
    return [Recipe(turned=dict(two)) for two in combinations(turns, 2) if two[0][0] != two[1][0]]


@contextmanager
def checker(architecture: Architecture, machine: Machine) -> Iterator[Checker]:
    """Give what runs recipes on a small pipeline of an architecture, which is written for it."""
    with tempfile.TemporaryDirectory(prefix="autotune-verify-") as place:
        folder = Path(place)
        task = Task(
            card=read_model(architecture.write(folder / architecture.name)),
            machine=machine,
            device=device_of(machine),
            workload=architecture.workload,
            prompts=PROMPTS,
            calibration_prompts=PROMPTS[:2],
            scorer=None,
            scorer_id="",
            tolerance=0.01,
            artifacts=folder / "artifacts",
        )
        with IsolatedEvaluator(task, task.modules) as evaluator:
            yield Checker(architecture.name, space_for(task.setting), evaluator, folder)


@dataclass
class Checker:
    """Runs recipes on one pipeline, in processes of their own, and remembers what each knob alone did."""

    architecture: str
    space: Space
    evaluator: IsolatedEvaluator
    folder: Path
    _seen: dict[str, Seen] = field(default_factory=dict)

    def row(self, recipe: Recipe) -> Row:
        """Return what a recipe does, and what the table says of it."""
        seen = self._look(recipe)
        idle = "" if seen.failure else self._idle(recipe, seen)
        return self.judged(
            Row(
                architecture=self.architecture,
                recipe=recipe,
                outcome="fails" if seen.failure else "does nothing" if idle else "works",
                detail=seen.failure or idle,
                apart=None if seen.failure else float(np.abs(seen.images - self._look(UNMODIFIED).images).mean()),
                unsteadiness=seen.unsteadiness,
            )
        )

    def judged(self, row: Row) -> Row:
        """Return a row with what the table says of its recipe now."""
        rule = None if self.space.refused.keys() & row.recipe.turned.items() else refusal(choices_of(row.recipe))
        told = {"refused": self.space.why_not(row.recipe) or "", "rule": rule.name if rule else ""}
        return row.model_copy(update=told)

    def _idle(self, recipe: Recipe, seen: Seen) -> str:
        """Return the knob without which everything is just the same; empty where each does something."""
        return next((knob for knob in recipe.turned if seen.like(self._look(recipe.without(knob)))), "")

    def _look(self, recipe: Recipe) -> Seen:
        """Return what a recipe does; of recipes with one knob at most it is remembered."""
        if recipe.key in self._seen:
            return self._seen[recipe.key]
        seen = self._run(recipe)
        if len(recipe.turned) < 2:
            self._seen[recipe.key] = seen
        return seen

    def _run(self, recipe: Recipe) -> Seen:
        deadline, file = time.monotonic() + LIMIT_S, self.folder / "images.npy"
        try:
            with self.evaluator.opened(recipe, deadline, {}) as process:
                command = {"do": "examine", "prompt": PROMPTS[0], "seed": SEED, "file": str(file)}
                answer = process.ask(command, deadline - time.monotonic())
        except TrialFailure as failure:
            return Seen(failure=f"{failure.outcome}: {failure.detail}"[:300])
        images = np.load(file)
        if not np.isfinite(images).all():
            return Seen(failure="bad_image: the image holds NaN or infinity")
        return Seen("", tuple(answer["traces"]), images, answer["unsteadiness"])
