"""What was found with made-up weights, for the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..search.recipe import Recipe
    from ..search.task import Task
    from ..store.store import Store


def carried_over(store: Store, task: Task) -> tuple[Recipe, ...]:
    """Return the recipes of the plans that made-up weights of the same shapes had on this machine, newest run first.

    They are the fastest as far as that is a matter of shapes, and what they do to images is yet to be seen. None of
    them is for a task whose weights are made up too.
    """
    if task.made_up:
        return ()
    alike = (
        run
        for run in store.runs()
        if run.scope.weights and run.scope.architecture == task.card.architecture
        if (run.scope.machine, run.scope.device) == (task.machine.fingerprint, task.device)
    )
    return tuple(dict.fromkeys(plan.recipe for run in alike for plan in store.plans_of(run.id)))
