"""The last round: the best candidates against the baseline, call by call, in turns.

The best of many noisy figures is too good to be true, so what is reported is measured anew, interleaved
with the baseline: whatever else slows the machine slows both. It goes on until the ratios are known well enough.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from .evaluate import CutOffError
from .objective import LATENCY, Objective
from .speedup import is_faster, is_precise, speedup
from .trial.failure import TrialFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..probes.load import Load
    from .evaluate import IsolatedEvaluator
    from .recipe import Recipe
    from .trial.process import TrialProcess

FEWEST_ROUNDS = 4
LOOKS = (8, 12, 16, 24, 32, 48, 64)
"""After so many rounds it is asked whether more are needed, and after the last there are no more."""
TURNS = (4, 4, 8, 8, 8, 16, 16)
"""How many calls each makes in a turn where they are loaded in turn: the first two make a short last round."""


@dataclass
class Lane:
    """One runner: its latencies, one a round, or why it fell out; `facts` are its load and cold time and its memory,
    `loads` what went on beside its calls.

    One that is `beaten` runs no further, because another is faster beyond doubt; what it ran stands.
    """

    recipe: Recipe
    samples_ms: list[float] = field(default_factory=list)
    fell_out: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    beaten: bool = False
    loads: list[Load] = field(default_factory=list)
    energy_j: list[float] = field(default_factory=list)
    objective: Objective = LATENCY

    @property
    def costs(self) -> tuple[float, ...]:
        """What is to be small, of each call."""
        ready = (self.facts.get("load_s", 0.0), self.facts.get("cold_s", 0.0))
        return self.objective.costs(self.samples_ms, *ready, self.energy_j)


def race(
    evaluator: IsolatedEvaluator, recipes: Sequence[Recipe], deadline: float, *, together: bool, spare_s: float = 0
) -> list[Lane]:
    """Return the lanes of the baseline and of these recipes, in that order; the i-th samples of all belong together.

    together: all pipelines stay loaded and take turns call by call, first on the prompts that judged nothing yet;
    otherwise, where they do not fit side by side, they are loaded in turn, again and again, forwards and backwards. A
    recipe that fails falls out; the others go on. Once there are enough rounds, the last `spare_s` before the deadline
    are left to others, and nothing is begun that would not end before. Raises CutOffError if the deadline leaves no
    time for enough rounds.
    """
    lanes = [Lane(recipe, objective=evaluator.task.objective) for recipe in (evaluator.baseline, *recipes)]
    done, round_s = 0, 0.0
    with ExitStack() as stack:
        processes: dict[str, TrialProcess] = {}
        for number, prompts in enumerate(_turns(evaluator, together=together)):
            running = [lane for lane in lanes if not lane.fell_out and not lane.beaten]
            began = time.monotonic()
            end = deadline - spare_s - round_s * len(prompts) if done >= FEWEST_ROUNDS else deadline
            if began >= end or lanes[0].fell_out or (done in LOOKS and is_decided(running)):
                break
            for lane in running[:: -1 if number % 2 else 1]:
                if not lane.beaten:
                    _turn(evaluator, lane, prompts, deadline, processes, stack if together else None)
            done += len(prompts)
            round_s = (time.monotonic() - began) / len(prompts)
    _even(lanes)
    if len(lanes[0].samples_ms) < FEWEST_ROUNDS:
        raise CutOffError
    return lanes


def _turns(evaluator: IsolatedEvaluator, *, together: bool) -> Iterator[list[int]]:
    """Yield the prompts of each turn: one side by side, where none is left the same again; else some at a time."""
    prompts = cycle(range(evaluator.task.screening, len(evaluator.task.prompts)))
    for calls in [1] * LOOKS[-1] if together else TURNS:
        yield list(islice(prompts, calls))


def is_decided(running: Sequence[Lane]) -> bool:
    """Return whether all is known well enough; a candidate that another beats is marked on the way.

    running: the baseline and the candidates that still run, which have equally many samples.
    """
    baseline, *others = running
    leader = min(others, key=lambda lane: speedup(lane.costs, baseline.costs)[0], default=None)
    if leader is None:
        return True
    for lane in others:
        lane.beaten = lane is not leader and is_faster(speedup(lane.costs, leader.costs))
    rivals = [baseline, *(lane for lane in others if lane is not leader and not lane.beaten)]
    return all(is_precise(speedup(rival.costs, leader.costs)) for rival in rivals)


def _turn(  # noqa: PLR0913 - all of one call
    evaluator: IsolatedEvaluator,
    lane: Lane,
    prompts: Sequence[int],
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
            calls = evaluator.run(process, lane.recipe, prompts, deadline, lane.facts)
            lane.samples_ms += calls.samples_ms
            lane.loads += calls.loads
            lane.energy_j += calls.energy_j
        finally:
            if not stack:
                process.__exit__()
    except TrialFailure as failure:
        if time.monotonic() < deadline:
            lane.fell_out = f"{failure.outcome}: {failure.detail}"


def _even(lanes: list[Lane]) -> None:
    """Cut every lane to the rounds that all who are still running have finished."""
    rounds = min(len(lane.samples_ms) for lane in lanes if lane is lanes[0] or not (lane.fell_out or lane.beaten))
    for lane in lanes:
        del lane.samples_ms[rounds:]
