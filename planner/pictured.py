"""Which images of a tuning are kept: the baseline's for its next sitting, a few of each plan, two of other recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..store.album import MOST_BYTES, Picture, album_of, digest_of, keep_album, picture_file

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
    whole = [(evaluator.baseline, len(evaluator.task.prompts))]
    keep_album(run, _images(evaluator, whole), MOST_BYTES // 2)  # the rest is for what people look at


def bring_back_images(run: str, evaluator: IsolatedEvaluator) -> None:
    """Give an evaluator the images of its baseline that an earlier sitting of the run has kept."""
    task = evaluator.task
    asked = dict(enumerate(zip(task.prompts, task.seeds, strict=True)))
    kept = album_of(run).of(evaluator.baseline.key).values()
    for each in kept:
        file = picture_file(each.digest)
        if file and asked.get(each.index) == (each.prompt, each.seed):
            evaluator.bring_back(each.index, file)


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
