"""Ask, evaluate, tell: the search itself. It keeps nothing; whoever started it keeps what it yields."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from ..errors import UnfitError
from .evaluate import CutOffError
from .recipe import UNMODIFIED, Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .evaluate import Evaluator
    from .measured import Trial
    from .sampler import Sampler


def study(  # noqa: PLR0913 - all that decides how long it goes on
    evaluator: Evaluator, sampler: Sampler, known: Sequence[Trial], tolerance: float, deadline: float, most: int
) -> Iterator[Recipe | Trial]:
    """Yield each recipe as its trial starts, and the trial as it ends, until the sampler or the budget says stop.

    known: trials of an earlier run, which are told to the sampler and not repeated. deadline: of
    `time.monotonic`; a trial that it cuts off is not yielded. most: trials in all, the known ones included.
    Raises UnfitError if the unmodified pipeline itself cannot be measured.
    """
    trials = list(known)
    for trial in trials:
        _check_baseline(trial)
        sampler.tell(trial)
    while len(trials) < most and time.monotonic() < deadline:
        recipe = sampler.ask() if trials else UNMODIFIED
        if recipe is None:
            return
        yield recipe
        best_ms = min((trial.median_ms for trial in trials if trial.feasible(tolerance)), default=math.inf)
        try:
            trial = evaluator.evaluate(len(trials), recipe, best_ms, deadline)
        except CutOffError:
            return
        trials.append(trial)
        sampler.tell(trial)
        yield trial
        _check_baseline(trial)


def _check_baseline(trial: Trial) -> None:
    if trial.recipe == UNMODIFIED and trial.outcome != "ok":
        msg = f"The unmodified pipeline cannot be measured here ({trial.outcome}; --fresh tries again): {trial.detail}"
        raise UnfitError(msg)
