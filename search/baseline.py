"""What everything is compared with: the unmodified pipeline, or where that does not fit, the mildest way that does.

Offload changes where weights wait, and no pixel: so its images are those of the unmodified pipeline. On a CPU there is
none, and half of the precision is the mildest that needs less; its images are its own, and whoever shows them says so.

Unmodified means as diffusers loads a pipeline that it is told nothing of: in fp32. On an accelerator nobody runs a
model so that was published in half of the precision, and there the comparison begins with the precision of the files.
docs/adr/0019-the-baseline-has-the-precision-of-its-files.md
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from ..probes.model import tensors_of
from .recipe import UNMODIFIED, Recipe

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..probes.model import ModelCard
    from .knobs import Setting
    from .measured import Trial
    from .space import Space

OFFLOADS = ("model", "group_block", "group_leaf", "sequential")
"""The mildest first: each needs less of the accelerator's memory than the one before it, and takes longer."""

BF16 = Recipe(turned={"precision": "bf16"})
HALVES = {"BF16": "bf16", "F16": "fp16"}
"""The precisions that take half of the memory, by the names that files give them."""


def begins_with(setting: Setting, space: Space) -> Recipe:
    """Return what is tried first: the unmodified pipeline, or on an accelerator that in the precision of its files."""
    precision = "fp32" if setting.device == "cpu" else published_in(setting.card)
    if precision in HALVES.values() and precision in space.choices["precision"]:
        return Recipe(turned={"precision": precision})
    return UNMODIFIED


def published_in(card: ModelCard) -> str:
    """Return the precision that most numbers of a denoiser have in its files.

    Where there are none and weights are made up, their size as it is published tells; half of fp32 is taken for bf16.
    """
    counted: Counter[str] = Counter()
    for tensor in tensors_of(card, card.denoiser.name).values():
        counted[tensor.dtype] += math.prod(tensor.shape)
    if counted:
        return HALVES.get(counted.most_common(1)[0][0], "fp32")
    return "bf16" if 0 < card.denoiser.bytes <= 2 * card.denoiser.parameters else "fp32"


def ways(space: Space, begin: Recipe = UNMODIFIED) -> tuple[Recipe, ...]:
    """Return what may be the baseline, in the order in which it is tried until one fits. begin: the first of them."""
    offloaded = [Recipe(turned={**begin.turned, "offload": choice}) for choice in OFFLOADS]
    return (begin, *(way for way in (*offloaded, BF16) if way in space and way != begin))


def may_be_baseline(recipe: Recipe) -> bool:
    """Return whether trials of a recipe are among those that `baseline_of` chooses from."""
    return recipe.without("offload").turned in ({}, *({"precision": half} for half in HALVES.values()))


def baseline_of(trials: Collection[Trial]) -> Trial | None:
    """Return the trial that the others are compared with, None where there is none yet.

    That is the one that was tried first; where it ran out of memory, the fastest that is that and offloaded; and where
    there is none of these, that in bf16.
    """
    begin = begun_with(trials)
    if begin is None:
        return None
    able = {trial.recipe: trial for trial in trials if trial.outcome == "ok" and may_be_baseline(trial.recipe)}
    if begin in able:
        return able[begin]
    if not any(trial.recipe == begin and trial.outcome == "out_of_memory" for trial in trials):
        return None
    offloaded = [trial for recipe, trial in able.items() if recipe != begin and recipe.without("offload") == begin]
    return min(offloaded, key=lambda trial: trial.cost, default=able.get(BF16))


def begun_with(trials: Collection[Trial]) -> Recipe | None:
    """Return what was tried first of all that may be the baseline; None where nothing was, or it was offloaded."""
    tried = [trial for trial in trials if may_be_baseline(trial.recipe)]
    first = min(tried, key=lambda trial: trial.number, default=None)
    return None if first is None or "offload" in first.recipe.turned else first.recipe


def next_way(possible: Sequence[Recipe], trials: Collection[Trial]) -> Recipe | None:
    """Return what is to be tried as the baseline now; None where there is one, or nothing is left to be it."""
    if baseline_of(trials):
        return None
    tried = {trial.recipe for trial in trials}
    return next((way for way in possible if way not in tried), None)


def said_baseline(recipe: Recipe, device: str = "cpu") -> str:
    """Return the sentence about a baseline that is not the unmodified pipeline; empty for that."""
    if recipe == UNMODIFIED:
        return ""
    precision = recipe.turned.get("precision")
    lacks = "because the unmodified pipeline needs more memory than there is."
    if precision and device == "cpu":
        own = f"Its images are those of {precision}, and what they are compared with is not the unmodified pipeline's."
        return f"Baseline: {recipe}, {lacks} {own}"
    if precision:
        also = "; offloaded, because without that it does not fit" if "offload" in recipe.turned else ""
        return f"Baseline: {recipe}, as the weights are published or because fp32 does not fit{also}."
    return f"Baseline: {recipe}, {lacks}"
