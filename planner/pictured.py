"""Which images of a tuning are kept: a few of the baseline and of each plan, two of every other recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..store.album import Picture, digest_of, keep_album

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..search.evaluate import IsolatedEvaluator
    from ..search.measured import Trial
    from ..search.plan import Plan
    from ..search.recipe import Recipe

OF_A_PLAN = 6
OF_ANOTHER = 2
MOST_OTHERS = 24


def keep_images(run: str, evaluator: IsolatedEvaluator, plans: Sequence[Plan], trials: Sequence[Trial]) -> None:
    """Keep the images of a run that people will want to see. Raises StoreError."""
    best = list(dict.fromkeys([evaluator.baseline, *(plan.recipe for plan in plans)]))
    judged = [trial for trial in trials if trial.quality and trial.recipe not in best]
    others = [trial.recipe for trial in sorted(judged, key=lambda trial: trial.median_ms)[:MOST_OTHERS]]
    chosen = [(recipe, OF_A_PLAN) for recipe in best] + [(recipe, OF_ANOTHER) for recipe in others]
    keep_album(run, _images(evaluator, chosen))


def _images(evaluator: IsolatedEvaluator, chosen: list[tuple[Recipe, int]]) -> Iterator[tuple[Picture, bytes]]:
    task = evaluator.task
    for recipe, most in chosen:
        for index, file in list(evaluator.images(recipe).items())[:most]:
            content = file.read_bytes()
            yield (
                Picture(
                    recipe=recipe.key,
                    index=index,
                    prompt=task.prompts[index],
                    seed=task.seeds[index],
                    digest=digest_of(content),
                ),
                content,
            )
