"""How often the verdicts are wrong: the real decision code on noise whose truth is known.

    python benchmarks/verdicts.py latency|quality [--runs 1000]

What `latency` does is said in `latency_verdicts.py`. In `quality` every run draws paired score differences from a
made-up truth and lets `search/verdict.py` decide, look by look. A plan is accepted where the images of the search
say so, and again where all prompts have been drawn, as a tuning with time left does it. `error` is how often a recipe
whose true drop is just what is tolerated was accepted; at most 5 % are asked for. With `no drop`, `accepted` is to be
90 % or more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from latency_verdicts import latency

from autotune.search.verdict import Scores, judged, until_clear

BASELINE = 92.0  # the mean score of the shipped model
TOLERANCE = 0.01
MOST = 32  # prompts that autotune ships with

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""Differences of mean 0 and of scatter 1, but for those of which it is said."""


@dataclass(frozen=True)
class Noise:
    """What differences are like around their mean; scale: in score points."""

    name: str
    draw: Draw
    scale: float = 1.0


def _skewed(generator: np.random.Generator, count: int) -> np.ndarray:
    return 1 - generator.exponential(1.0, count)  # a few are much worse


def _heavy(generator: np.random.Generator, count: int) -> np.ndarray:
    return generator.standard_t(2, count)  # of infinite variance


def _normal(generator: np.random.Generator, count: int) -> np.ndarray:
    return generator.normal(0.0, 1.0, count)


NOISES = (
    *(Noise(f"normal, {scale:g}", _normal, scale) for scale in (0.1, 0.3, 0.5, 1.0, 1.5, 2.0)),
    Noise("t(2), 0.5", _heavy, 0.5),
    Noise("skewed, 1", _skewed, 1.0),
)


def _ruining(share: float, points: float = 40.0) -> Draw:
    """Return differences of which a share is ruined, by so many points, and the others hardly differ."""

    def draw(generator: np.random.Generator, count: int) -> np.ndarray:
        return generator.normal(0.0, 0.3, count) - points * (generator.random(count) < share)

    return draw


@dataclass(frozen=True)
class Tally:
    """How many runs were accepted by the search, and by all prompts too, and the images that the search made."""

    searched: float
    confirmed: float
    images: float


def tally(draw: Draw, scale: float, drop: float, runs: int) -> Tally:
    """Return what became of so many runs. drop: the true mean loss, in points."""
    generator = np.random.default_rng(7)
    searched = confirmed = images = 0
    for _ in range(runs):
        differences = scale * draw(generator, MOST) - drop
        made = 0

        def scored(count: int, all_of: np.ndarray = differences) -> Scores:
            nonlocal made
            made = count
            return BASELINE + all_of[:count], np.full(count, BASELINE)

        good = until_clear(scored, TOLERANCE, MOST).verdict == "good"
        images += made
        searched += good
        confirmed += good and judged(scored(MOST), TOLERANCE, MOST).verdict == "good"
    return Tally(searched / runs, confirmed / runs, images / runs)


def quality(runs: int) -> None:
    """Print how often images are judged wrongly, and how many it takes."""
    limit = TOLERANCE * BASELINE
    print(f"{runs} runs each; {limit:.2f} points may be lost, {MOST} prompts\n")
    print(f"{'scatter in points':20} {'error':>7} {'images':>7}   {'no drop: accepted':>18} {'images':>7}")
    for noise in NOISES:
        wrong, right = (tally(noise.draw, noise.scale, drop, runs) for drop in (limit, 0.0))
        print(
            f"{noise.name:20} {wrong.confirmed:7.1%} {wrong.images:7.1f}   {right.confirmed:18.1%} {right.images:7.1f}"
        )
    print(f"\n{'ruined images':20} {'accepted by the search':>23} {'and by all prompts':>19} {'images':>7}")
    for one_in in (5, 10, 20):
        found = tally(_ruining(1 / one_in), 1.0, 0.0, runs)
        print(f"{f'1 in {one_in}':20} {found.searched:23.1%} {found.confirmed:19.1%} {found.images:7.1f}")


def main() -> None:
    """Simulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("latency", "quality"))
    parser.add_argument("--runs", type=int, default=1000, help="how many runs of each kind")
    options = parser.parse_args()
    {"latency": latency, "quality": quality}[options.what](options.runs)


if __name__ == "__main__":
    main()
