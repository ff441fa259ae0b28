"""What everything is compared with: the unmodified pipeline, or where that does not fit, the mildest way that does.

Offload changes where weights wait, and no pixel: so its images are those of the unmodified pipeline. On a CPU there is
none, and half of the precision is the mildest that needs less; its images are its own, and whoever shows them says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .recipe import UNMODIFIED, Recipe

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .measured import Trial
    from .space import Space

OFFLOADS = ("model", "group_block", "group_leaf", "sequential")
"""The mildest first: each needs less of the accelerator's memory than the one before it, and takes longer."""

BF16 = Recipe(turned={"precision": "bf16"})


def ways(space: Space) -> tuple[Recipe, ...]:
    """Return what may be the baseline, in the order in which it is tried until one fits."""
    offloaded = (Recipe(turned={"offload": choice}) for choice in OFFLOADS)
    return (UNMODIFIED, *(way for way in (*offloaded, BF16) if way in space))


def may_be_baseline(recipe: Recipe) -> bool:
    """Return whether trials of a recipe are among those that `baseline_of` chooses from."""
    return recipe.turned.keys() <= {"offload"} or recipe == BF16


def baseline_of(trials: Collection[Trial]) -> Trial | None:
    """Return the trial that the others are compared with, None where there is none yet.

    That is the unmodified pipeline's; where it ran out of memory, the fastest that is offloaded and nothing else; and
    where there is none of these, that in bf16.
    """
    able = {trial.recipe: trial for trial in trials if trial.outcome == "ok"}
    if UNMODIFIED in able:
        return able[UNMODIFIED]
    if not any(trial.recipe == UNMODIFIED and trial.outcome == "out_of_memory" for trial in trials):
        return None
    offloaded = [trial for recipe, trial in able.items() if recipe.turned.keys() == {"offload"}]
    return min(offloaded, key=lambda trial: trial.cost, default=able.get(BF16))


def next_way(possible: Sequence[Recipe], trials: Collection[Trial]) -> Recipe | None:
    """Return what is to be tried as the baseline now; None where there is one, or nothing is left to be it."""
    if baseline_of(trials):
        return None
    tried = {trial.recipe for trial in trials}
    return next((way for way in possible if way not in tried), None)


def said_baseline(recipe: Recipe) -> str:
    """Return the sentence about a baseline that is not the unmodified pipeline; empty for that."""
    if recipe == UNMODIFIED:
        return ""
    other = " Its images are those of bf16, and what they are compared with is not the unmodified pipeline's."
    return (
        f"Baseline: {recipe}, because the unmodified pipeline needs more memory than there is."
        f"{other if recipe == BF16 else ''}"
    )
