"""What of a search is hopeless for want of memory, before it is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .choose import said_bytes
from .estimate import room_of
from .predict import Lessons, Need, Shape, need_of
from .shape import known_shape

if TYPE_CHECKING:
    from ..search.measured import Trial
    from ..search.recipe import Recipe
    from ..search.task import Task


class Foresight:
    """Predicts the peaks of a task's recipes, where the model's demands are known; else it says nothing of any."""

    def __init__(self, task: Task, lessons: Lessons, begin: Recipe) -> None:
        """Look up what is known of the task's model. Nothing is rehearsed for it. begin: what is tried first."""
        self._task = task
        self._begin = begin
        self._lessons = lessons
        self._shape: Shape | None = known_shape(task.card, task.workload)
        self._room = room_of(task.machine)

    def crowded(self, recipe: Recipe) -> str | None:
        """Return why a recipe cannot fit: even the least that it may take is more than there is; None where it may.

        What a search begins with is tried in any case, as everything is compared with it.
        """
        if self._shape is None or recipe == self._begin:
            return None
        need = self._need(recipe, self._shape, self._lessons)
        if need.low_bytes > self._room.free_bytes:
            free = said_bytes(self._room.free_bytes)
            return f"it needs {said_bytes(need.low_bytes)} at least, as predicted, and {free} are free (--force tries)"
        if need.host_bytes > self._room.free_host_bytes:
            free = said_bytes(self._room.free_host_bytes)
            return f"it needs {said_bytes(need.host_bytes)} of RAM, as predicted, and {free} are free (--force tries)"
        return None

    def noted(self, trial: Trial) -> Trial:
        """Return a trial with the peak that had been predicted for it, from which later predictions learn."""
        if self._shape is None:
            return trial
        need = self._need(trial.recipe, self._shape, Lessons())
        return trial.model_copy(update={"predicted_bytes": need.peak_bytes})

    def _need(self, recipe: Recipe, shape: Shape, lessons: Lessons) -> Need:
        return need_of(recipe, shape, self._task.workload, self._task.device, lessons)
