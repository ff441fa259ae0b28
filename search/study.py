"""Ask, evaluate, tell: the search itself. It keeps nothing; whoever started it keeps what it yields."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from ..errors import UnfitError
from .baseline import baseline_of, next_way
from .crew import ALONE
from .evaluate import CutOffError
from .recipe import UNMODIFIED, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .crew import Crew
    from .evaluate import Evaluator
    from .measured import Trial
    from .sampler import Sampler


def study(  # noqa: PLR0913 - all that decides how long it goes on
    evaluator: Evaluator,
    sampler: Sampler,
    known: Sequence[Trial],
    tolerance: float,
    deadline: float,
    most: int,
    possible: Sequence[Recipe] = (UNMODIFIED,),
    crew: Crew = ALONE,
    kept_s: Callable[[], float] = lambda: 0.0,
) -> Iterator[Recipe | Trial]:
    """Yield each recipe as its trial starts, and the trial as it ends, until the sampler or the budget says stop.

    known: trials of an earlier run, which are told to the sampler and not repeated. deadline: of
    `time.monotonic`; a trial that it cuts off is not yielded. most: trials in all, the known ones included.
    possible: what may be the baseline, tried in this order until one fits; empty where nothing is compared.
    crew: others who try recipes of the same study; their trials are yielded as they are heard of.
    kept_s: how much of the time must be left for what comes after; before each trial it is asked again.
    Raises UnfitError if none of these can be measured.
    """
    trials = list(known)
    for trial in trials:
        sampler.tell(trial)
    _check_baseline(trials, possible)
    while len(trials) < most and time.monotonic() < (end := deadline - kept_s()) and not crew.over:
        for trial in crew.news():
            trials.append(trial)
            sampler.tell(trial)
            yield trial
        enough = len(trials) + crew.trying >= most
        recipe = None if enough else next_way(possible, trials) or sampler.ask()
        if recipe is None:
            if crew.wait(end):
                continue
            break
        if not crew.claim(recipe):
            if baseline_of(trials) is None and possible:  # another measures it: nothing can be judged before
                crew.wait(end)
            continue
        yield recipe
        best = min((trial.cost for trial in trials if trial.feasible(tolerance)), default=math.inf)
        try:
            trial = evaluator.evaluate(len(trials), recipe, best, end)
        except CutOffError:
            break
        trials.append(trial)
        sampler.tell(trial)
        yield trial
        _check_baseline(trials, possible)
    yield from crew.part()


def _check_baseline(trials: Sequence[Trial], possible: Sequence[Recipe]) -> None:
    """Raise UnfitError where there is nothing to compare with; only what has too little memory has another way."""
    first = next((trial for trial in trials if possible and trial.recipe == possible[0]), None)
    if first is None or baseline_of(trials):
        return
    if first.outcome != "out_of_memory" or next_way(possible, trials) is None:
        others = ", ".join(trial.recipe.key for trial in trials if trial.recipe in possible[1:])
        neither = f" Neither can {others}." if others else ""
        what = "The unmodified pipeline" if first.recipe == UNMODIFIED else f"The pipeline with {first.recipe}"
        msg = f"{what} cannot be measured here ({first.outcome}; --fresh tries again): {first.detail}"
        raise UnfitError(f"{msg}{neither}")
