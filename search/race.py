"""The last round: the best candidates against the baseline, call by call, on fresh prompts.

The best of many noisy figures is too good to be true, so what is reported is measured anew, interleaved
with the baseline: whatever else slows the machine slows both.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .evaluate import CutOffError
from .trial.process import TrialFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .evaluate import IsolatedEvaluator
    from .recipe import Recipe
    from .trial.process import TrialProcess

FEWEST_ROUNDS = 4


@dataclass
class Lane:
    """One runner: its latencies, one a round, or why it fell out; `facts` are its load and cold time and its memory."""

    recipe: Recipe
    samples_ms: list[float] = field(default_factory=list)
    fell_out: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def race(evaluator: IsolatedEvaluator, recipes: Sequence[Recipe], deadline: float, *, together: bool) -> list[Lane]:
    """Return the lanes of the baseline and of these recipes, in that order, with equally many samples each.

    together: all pipelines stay loaded and take turns call by call; otherwise, where they do not fit side by
    side, they are loaded in turn, twice, forwards and backwards. A recipe that fails falls out; the others go on.
    Raises CutOffError if the deadline leaves no time for enough rounds.
    """
    lanes = [Lane(recipe) for recipe in (evaluator.baseline, *recipes)]
    rounds = list(_rounds(evaluator, together=together))
    with ExitStack() as stack:
        processes: dict[str, TrialProcess] = {}
        for number, prompts in enumerate(rounds):
            if time.monotonic() >= deadline:
                break
            running = [lane for lane in lanes if not lane.fell_out]
            for lane in running[:: -1 if number % 2 else 1]:
                _turn(evaluator, lane, prompts, deadline, processes, stack if together else None)
    _even(lanes)
    if len(lanes[0].samples_ms) < FEWEST_ROUNDS:
        raise CutOffError
    return lanes


def _rounds(evaluator: IsolatedEvaluator, *, together: bool) -> list[range]:
    first, last = evaluator.task.screening, len(evaluator.task.prompts)
    if together:
        return [range(index, index + 1) for index in range(first, last)]
    middle = (first + last) // 2
    return [range(first, middle), range(middle, last)]


def _turn(  # noqa: PLR0913 - all of one call
    evaluator: IsolatedEvaluator,
    lane: Lane,
    prompts: range,
    deadline: float,
    processes: dict[str, TrialProcess],
    stack: ExitStack | None,
) -> None:
    """Let one lane make its calls of a round, in its standing process or in one for this turn."""
    try:
        process = processes.get(lane.recipe.key) or evaluator.opened(lane.recipe, deadline, lane.facts)
        if stack and lane.recipe.key not in processes:
            processes[lane.recipe.key] = stack.enter_context(process)
        try:
            lane.samples_ms += evaluator.run(process, lane.recipe, prompts, deadline, lane.facts)
        finally:
            if not stack:
                process.__exit__()
    except TrialFailure as failure:
        if time.monotonic() < deadline:
            lane.fell_out = f"{failure.outcome}: {failure.detail}"


def _even(lanes: list[Lane]) -> None:
    """Cut every lane to the rounds that all who are still running have finished."""
    rounds = min(len(lane.samples_ms) for lane in lanes if not lane.fell_out or lane is lanes[0])
    for lane in lanes:
        del lane.samples_ms[rounds:]
