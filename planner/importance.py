"""What each choice of a knob did to the cost, over all trials that differ in it alone."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

from ..search.assemble import choices_of
from ..search.knobs import KNOBS
from ..search.recipe import Choice
from ..value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..search.measured import Trial


class Effect(Value):
    """How many times faster trials were with a choice than with the knob's default, on average over `pairs` of them.

    Two make a pair that differ in this knob alone. It is a geometric mean, of measurements that did not take turns.
    """

    knob: str
    choice: Choice
    times_as_fast: float
    pairs: int


def effects(trials: Sequence[Trial]) -> tuple[Effect, ...]:
    """Return the effect of every choice that was tried beside its default, the strongest first.

    A call that was given up counts with what it would at least have taken.
    """
    logs: dict[tuple[str, Choice], list[float]] = defaultdict(list)
    measured = [(choices_of(trial.recipe), trial.cost) for trial in trials if trial.latency]
    for (one, one_cost), (other, other_cost) in combinations(measured, 2):
        different = [knob for knob in KNOBS if one[knob.name] != other[knob.name]]
        if len(different) != 1:
            continue
        [knob] = different
        gain = math.log(other_cost / one_cost)
        if other[knob.name] == knob.default:
            logs[knob.name, one[knob.name]].append(gain)
        elif one[knob.name] == knob.default:
            logs[knob.name, other[knob.name]].append(-gain)
    found = [
        Effect(knob=knob, choice=choice, times_as_fast=math.exp(fmean(gains)), pairs=len(gains))
        for (knob, choice), gains in logs.items()
    ]
    return tuple(sorted(found, key=lambda effect: -abs(math.log(effect.times_as_fast))))
