"""Images that a later sitting of a run finds again: the baseline's, and only where it asks for the same ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from autotune.planner.pictured import bring_back_images, keep_images
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.store.run import new_id

from ..cli.results import task_of

if TYPE_CHECKING:
    from pathlib import Path

    from autotune.search.evaluate import IsolatedEvaluator
    from autotune.search.task import Task


@dataclass
class Sitting:
    """An evaluator of which only the images are there."""

    folder: Path
    task: Task = field(default_factory=task_of)
    baseline: Recipe = UNMODIFIED
    brought: dict[int, bytes] = field(default_factory=dict)

    def images(self, recipe: Recipe) -> dict[int, Path]:
        made = {}
        for index in range(len(self.task.prompts)):
            made[index] = self.folder / f"{recipe.key}-{index}.png"
            made[index].write_bytes(f"{recipe.key} {index}".encode())
        return made

    def bring_back(self, index: int, file: Path) -> None:
        self.brought[index] = file.read_bytes()


def test_a_later_sitting_has_the_baselines_images_of_all_prompts(tmp_path: Path) -> None:
    run, first, later = new_id(), Sitting(tmp_path), Sitting(tmp_path)
    keep_images(run, cast("IsolatedEvaluator", first), (), ())
    bring_back_images(run, cast("IsolatedEvaluator", later))
    assert later.brought == {index: f"unmodified {index}".encode() for index in range(4)}


def test_images_of_other_prompts_or_another_run_are_not_taken(tmp_path: Path) -> None:
    run, first = new_id(), Sitting(tmp_path)
    keep_images(run, cast("IsolatedEvaluator", first), (), ())
    other = Sitting(tmp_path, task_of(prompts=("a", "x", "c", "d")))
    bring_back_images(run, cast("IsolatedEvaluator", other))
    assert other.brought.keys() == {0, 2, 3}
    another = Sitting(tmp_path)
    bring_back_images(new_id(), cast("IsolatedEvaluator", another))
    assert another.brought == {}
