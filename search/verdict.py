"""Whether the images are as good, from as few of them as it takes to be clear about it.

Images are looked at in between, and each look is a chance to be wrong, so the risk is shared out: three tenths of it
among all looks before the last. By the union bound the whole risk stays what it is, whatever the scores are like and
whoever else looks. docs/adr/0013-images-until-it-is-clear.md
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .intervals import RISK, lower_bound

EARLY = 0.3
"""The share of the risk that all looks before the last have together: it buys early answers where they are plain."""
LOOKS = (8, 16, 24)
"""After how many images one looks before all are made."""

Scores = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]
"""Scores of a recipe's images and of the baseline's, paired by prompt and seed."""


@dataclass(frozen=True)
class Judgement:
    """What so many images say. `bound` is the least that the mean paired difference is, at the risk of this look."""

    verdict: Literal["good", "worse", "open"]
    bound: float
    images: int


def judged(scores: Scores, tolerance: float, most: int) -> Judgement:
    """Return what these scores say of a recipe, of which there will be `most` at last.

    tolerance: the share of the baseline's mean score that may be lost. `worse` is as sure as `good` is.
    """
    own, baseline = (np.asarray(each, dtype=np.float64) for each in scores)
    limit = -tolerance * float(baseline.mean())
    risk = risk_of(len(own), most)
    bound = lower_bound(own - baseline, risk)
    if bound >= limit:
        return Judgement("good", bound, len(own))
    return Judgement("worse" if -lower_bound(baseline - own, risk) < limit else "open", bound, len(own))


def until_clear(
    scored: Callable[[int], Scores], tolerance: float, most: int, counts: Sequence[int] | None = None
) -> Judgement:
    """Return the judgement that is clear with the fewest images, or that of the last look.

    scored: makes as many images as it is asked for, where they are not there yet, and returns the scores of all.
    counts: the looks to take, else all.
    """
    found = Judgement("open", -math.inf, 0)
    for count in looks(most) if counts is None else counts:
        found = judged(scored(count), tolerance, most)
        if found.verdict != "open":
            break
    return found


def looks(most: int) -> tuple[int, ...]:
    """Return after how many images one looks, of `most` that there can be."""
    return (*(count for count in LOOKS if count < most), most)


def risk_of(count: int, most: int) -> float:
    """Return the risk of being wrong that a look at `count` of `most` images may have.

    One more than the planned looks has a share: the one at which the time was used up.
    """
    return RISK * (1 - EARLY) if count >= most else RISK * EARLY / len(looks(most))


def unseen_share(count: int) -> float:
    """Return the share of ruined images up to which none among `count` may be chance, at the same risk.

    Source: Hanley & Lippman-Hand 1983, "If nothing goes wrong, is everything all right?" (the rule of three).
    """
    return float(1 - RISK ** (1 / count))
