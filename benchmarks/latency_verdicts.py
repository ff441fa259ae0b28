"""How often the last round is wrong about latency: the real race on made-up clocks, as `verdicts.py latency`.

Each run races a candidate against the baseline, call by call in simulated time. Two that are equally fast are to be
called different in at most 5 % of the runs; one that is 5 % faster is to be found in at least 95 % at a noise of 3 %;
the speed-up that is reported is to be right within 1 % on average, whether the plan wins or not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from autotune.planner.conclude import winner
from autotune.search.calls import Calls
from autotune.search.objective import LATENCY
from autotune.search.race import race
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.speedup import is_faster, speedup

if TYPE_CHECKING:
    from autotune.search.evaluate import IsolatedEvaluator

CANDIDATE = Recipe(turned={"memory_format": "channels_last"})
FACTS = {"load_s": 1.0, "cold_s": 1.0, "peak_memory_bytes": 1}
SCREENED, SCREENING_CALLS = 20, 3

Noise = Callable[[np.random.Generator, float, int], float]
"""Gives the log of what a call takes more than it should: of a scatter, and of how many calls came before."""


def _lognormal(generator: np.random.Generator, scatter: float, number: int) -> float:
    del number
    return generator.normal(0.0, scatter)


def _drifting(generator: np.random.Generator, scatter: float, number: int) -> float:
    """A machine that warms up to 30 % slower in the first fifty calls, and then comes and goes by 5 %."""
    trend = 0.3 * min(number, 50) / 50 + 0.05 * math.sin(number / 7)
    return trend + generator.normal(0.0, scatter)


def _spiky(generator: np.random.Generator, scatter: float, number: int) -> float:
    """One call of ten is held up, by half of its time on average."""
    del number
    spike = generator.exponential(0.5) if generator.random() < 0.1 else 0.0
    return generator.normal(0.0, scatter) + spike


def _heavy(generator: np.random.Generator, scatter: float, number: int) -> float:
    """Student's t with two degrees of freedom, which has no variance."""
    del number
    return float(scatter * generator.standard_t(2))


def _shared(generator: np.random.Generator, scatter: float, number: int) -> float:
    """Half of the time another process is there, for eleven calls at once, and everything takes 1.6 times as long."""
    return (math.log(1.6) if number // 11 % 2 else 0.0) + generator.normal(0.0, scatter)


NOISES: dict[str, Noise] = {
    "lognormal": _lognormal,
    "drift": _drifting,
    "spikes": _spiky,
    "t(2) tails": _heavy,
    "shared": _shared,
}
SCATTERS = (0.01, 0.03, 0.05, 0.1)


@dataclass
class Clocked:
    """Stands for the evaluator: calls take what they are said to take, and noise."""

    generator: np.random.Generator
    noise: Noise
    scatter: float
    ms: dict[Recipe, float]
    baseline: Recipe = UNMODIFIED
    made: int = 0
    task: Any = field(default_factory=lambda: SimpleNamespace(screening=16, prompts=("",) * 32, objective=LATENCY))

    def opened(self, recipe: Recipe, deadline: float, facts: dict[str, Any]) -> Self:
        """Return what calls are asked of."""
        del recipe, deadline
        facts |= FACTS
        return self

    def __enter__(self) -> Self:
        """Start nothing."""
        return self

    def __exit__(self, *error: object) -> None:
        """End nothing."""

    def run(self, process: object, recipe: Recipe, prompts: range, deadline: float, facts: dict[str, Any]) -> Calls:
        """Return what calls took."""
        del process, deadline, facts
        return Calls([self.call_ms(recipe) for _ in prompts])

    def call_ms(self, recipe: Recipe) -> float:
        """Return what the next call takes."""
        self.made += 1
        return self.ms[recipe] * math.exp(self.noise(self.generator, self.scatter, self.made))


@dataclass(frozen=True)
class Verdict:
    """What a race said: whether the candidate won, whether it was called slower, its speed-up, and the rounds."""

    won: bool
    slower: bool
    ratio: float
    rounds: int


def raced(noise: Noise, scatter: float, ratio: float, generator: np.random.Generator) -> Verdict:
    """Return the verdict on a candidate that is truly so many times as fast."""
    evaluator = Clocked(generator, noise, scatter, {UNMODIFIED: 100.0, CANDIDATE: 100.0 / ratio})
    lanes = race(cast("IsolatedEvaluator", evaluator), [CANDIDATE], math.inf, together=True)
    baseline, lane = lanes
    slower = is_faster(speedup(lane.samples_ms, baseline.samples_ms))
    found = speedup(baseline.samples_ms, lane.samples_ms)[0]
    return Verdict(winner(lanes, {}, 0.01) is not None, slower, found, len(lane.samples_ms))


def latency(runs: int) -> None:
    """Print how often the last round is wrong, how far off its figures are, and how many rounds it takes."""
    generator = np.random.default_rng(11)
    print(f"{runs} runs each; two calls a round\n")
    print(f"{'noise':12} {'scatter':>7}   {'equal: different':>16} {'rounds':>7}   {'5 % faster: found':>17} ", end="")
    print(f"{'bias':>7} {'rounds':>7}")
    for name, noise in NOISES.items():
        for scatter in SCATTERS:
            equal, faster = ([raced(noise, scatter, ratio, generator) for _ in range(runs)] for ratio in (1, 1.05))
            wrong = statistics.fmean(each.won or each.slower for each in equal)
            found = statistics.fmean(each.won for each in faster)
            bias = statistics.fmean(each.ratio for each in faster) / 1.05 - 1
            rounds = [statistics.fmean(each.rounds for each in verdicts) for verdicts in (equal, faster)]
            print(f"{name:12} {scatter:7.0%}   {wrong:16.1%} {rounds[0]:7.1f}   {found:17.1%} ", end="")
            print(f"{bias:+7.2%} {rounds[1]:7.1f}", flush=True)
    _winners_curse(runs, generator)


def _winners_curse(runs: int, generator: np.random.Generator) -> None:
    """Print by how much the best of many looks faster than it is when it is tried, and in the last round."""
    print(f"\nthe best of {SCREENED} that are as fast as the baseline, by the median of {SCREENING_CALLS} calls")
    for scatter in SCATTERS:
        tried, last, won = [], [], 0
        for _ in range(runs):
            medians = np.median(generator.lognormal(0, scatter, (SCREENED, SCREENING_CALLS)), axis=1)
            tried.append(1 / float(medians.min()))
            verdict = raced(_lognormal, scatter, 1, generator)
            last.append(verdict.ratio)
            won += verdict.won
        print(
            f"scatter {scatter:4.0%}: looks {statistics.fmean(tried):.3f} times as fast when it is tried, "
            f"{statistics.fmean(last):.3f} times in the last round; made a plan in {won / runs:.1%}"
        )
