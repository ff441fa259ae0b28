"""What follows from the answers to blind pairs: an exact binomial test, and words that claim no more than it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from math import comb
from typing import Literal

from ...store.blind import Answers, BlindSet
from ...value import Value

SIGNIFICANT = 0.05
CONFIDENCE = 0.95


class Verdict(Value):
    """What a set, or several of one recipe, has shown. `rate_below` is the upper 95 % bound of the true rate.

    `p_value` is how likely as many right picks, or more, are for somebody who guesses. `damaged_missed` counts control
    pairs whose damaged image was not picked: then nobody looked closely enough, and the rest says nothing. `left_share`
    is how often the left one of two identical images was picked.
    """

    schema_version: int = 1
    sets: int
    pairs: int
    right: int
    p_value: float
    rate_below: float
    damaged_missed: int
    left_share: float | None
    shown: Literal["distinguishable", "not shown", "careless"]
    sentence: str


def verdict(answered: Iterable[tuple[BlindSet, Answers]]) -> Verdict | None:
    """Return what finished sets have shown together; None where there is none."""
    finished = [(blind, answers) for blind, answers in answered if answers.finished_at]
    if not finished:
        return None
    judged = [
        (screen, picked)
        for blind, answers in finished
        for screen, picked in zip(blind.screens, answers.picked, strict=True)
    ]
    picks = [picked == screen.other for screen, picked in judged if screen.kind == "pair"]
    missed = sum(picked != screen.other for screen, picked in judged if screen.kind == "damaged")
    lefts = [picked == screen.left for screen, picked in judged if screen.kind == "identical"]
    return _verdict(len(finished), sum(picks), len(picks), missed, sum(lefts) / len(lefts) if lefts else None)


def _verdict(sets: int, right: int, pairs: int, missed: int, left_share: float | None) -> Verdict:
    p_value, bound = chance_of(right, pairs), rate_below(right, pairs)
    shown: Literal["distinguishable", "not shown", "careless"]
    if missed:
        shown = "careless"
        sentence = f"No verdict: of the grossly damaged control images, {missed} went by unseen."
    elif p_value <= SIGNIFICANT:
        shown = "distinguishable"
        sentence = f"Shown to be distinguishable: {right} of {pairs} spotted, by chance with p = {_said(p_value)}."
    else:
        shown = "not shown"
        sentence = (
            f"Not shown to be distinguishable: {right} of {pairs} spotted (p = {_said(p_value)}); "
            f"the true rate is below {bound:.2f} at 95 %."
        )
    return Verdict(
        sets=sets,
        pairs=pairs,
        right=right,
        p_value=p_value,
        rate_below=bound,
        damaged_missed=missed,
        left_share=left_share,
        shown=shown,
        sentence=sentence,
    )


def chance_of(right: int, pairs: int) -> float:
    """Return how likely at least `right` of `pairs` are when each is a coin's toss."""
    return float(sum(comb(pairs, hits) for hits in range(right, pairs + 1)) / 2**pairs)


def rate_below(right: int, pairs: int) -> float:
    """Return the upper end of the one-sided 95 % interval of the true rate.

    Source: Clopper and Pearson 1934, Biometrika 26(4).
    """
    low, high = right / pairs, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(right, pairs, middle) > 1 - CONFIDENCE else (low, middle)
    return high


def _at_most(right: int, pairs: int, rate: float) -> float:
    return math.fsum(comb(pairs, hits) * rate**hits * (1 - rate) ** (pairs - hits) for hits in range(right + 1))


def _said(p_value: float) -> str:
    return f"{p_value:.2f}" if p_value >= 0.1 else f"{p_value:.1g}"
