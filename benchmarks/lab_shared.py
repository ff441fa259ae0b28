"""How much faster machines of a kind are together: `python benchmarks/lab_shared.py [--seeds 20] [--machines 1,2,4]`.

A study is searched by one machine, and then by several that share it. What recipes take and how long
their trials are is made up, anew for each seed: a space of 288 recipes, trials of 5 to 60 s, the costliest for what is
compiled. `search.study` and its sampler are as in life, and so is who may try what (`planner/lab/claims.py`); only time
is simulated, so that no machine waits for the cores of this one. A machine that helps joins 10 s after the first.

Printed is the median time, in seconds of the lab, until the fastest recipe and the front (latency and memory) that the
search of one machine ends with are found to within 3 %, if it goes on for as long as that takes; until it ends by
itself; and until all recipes are tried, so that the front of all is known. The search that sets the goal is one with
other chances than those that are timed: who runs towards the end of its own way is always early. It leaves with 1 where
two machines are less than 1.8 times as fast to the front of all recipes as one, or a recipe was tried twice.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import statistics
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autotune.planner.lab.claims import Claims
from autotune.search import bayesian
from autotune.search.bayesian import PATIENCE, BayesianSampler
from autotune.search.front import front
from autotune.search.knobs import KNOBS
from autotune.search.measured import Latency, Trial
from autotune.search.recipe import Recipe
from autotune.search.space import Space
from autotune.search.study import study

if TYPE_CHECKING:
    from collections.abc import Collection

    from autotune.search.crew import Leave

Rows = dict[int, list[tuple[float, ...]]]
PARTS = ("fastest after", "front after", "ends by itself after", "all tried after")
NEAR = 1.03
TOLERANCE = 0.01
JOINS_S = 10.0  # to start a process, and to import what a trial needs
WANTED = 1.8
SPACE = Space(
    choices={knob.name: (knob.default,) for knob in KNOBS}
    | {
        "precision": ("fp32", "bf16"),
        "quantization": ("none", "torchao_int8_weight_only", "torchao_int8_dynamic", "nncf_int8"),
        "tome_ratio": (0.0, 0.25, 0.5),
        "compile": ("none", "full", "openvino"),
        "memory_format": ("contiguous", "channels_last"),
        "vae_tiling": ("none", "tiling"),
    },
    refused={},
)


class World:
    """What recipes take, in one seed; also the clock, of which only one machine runs at any moment."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self._worth = {
            (name, choice): (chance.uniform(0.6, 1.1), chance.uniform(0.7, 1.2), chance.uniform(0.8, 1.6))
            for name, choices in SPACE.choices.items()
            for choice in choices[1:]
        }
        self._seed = seed
        self.now_s = 0.0
        self.trials: list[tuple[float, Trial]] = []
        self._turns: list[tuple[float, int, Machine]] = []
        self._number = itertools.count()  # of two turns at one moment, the one that was given first
        self._control = threading.Semaphore(0)

    def trial(self, number: int, recipe: Recipe) -> Trial:
        """Return what a recipe shows, with the noise of one measurement that is its own."""
        worth = [self._worth[turn] for turn in recipe.turned.items()]
        chance = random.Random(f"{self._seed} {recipe.key}")
        slower, larger, longer = (math.prod(each[part] for each in worth) for part in range(3))
        latency_ms = 1000 * slower * chance.lognormvariate(0, 0.05)
        return Trial(
            number=number,
            recipe=recipe,
            outcome="ok",
            latency=Latency(samples_ms=(latency_ms,) * 3),
            peak_memory_bytes=int(2**30 * larger * chance.lognormvariate(0, 0.02)),
            started_at="",
            duration_s=min(60.0, 5 + 6 * longer * chance.lognormvariate(0, 0.3)),
        )

    def run(self) -> None:
        """Let machines take turns, the earliest first, until all have ended."""
        while self._turns:
            self.now_s, _, machine = heapq.heappop(self._turns)
            machine.turn.release()
            self._control.acquire()

    def wake(self, machine: Machine, after_s: float = 0.0) -> None:
        """Give a machine its turn so much later."""
        heapq.heappush(self._turns, (self.now_s + after_s, next(self._number), machine))

    def pause(self, machine: Machine) -> None:
        """Give the turn back, and wait for the next one."""
        self._control.release()
        machine.turn.acquire()

    def end(self) -> None:
        """Give the turn back for good."""
        self._control.release()


@dataclass(eq=False)
class Machine:
    """One of those that share a study: its `Crew` (search/crew.py), and its evaluator."""

    name: str
    world: World
    claims: Claims
    others: list[Machine]
    seed: int
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _news: list[Trial] = field(default_factory=list)
    _waits: bool = False
    _leave: Leave = lambda _: None

    @property
    def helps(self) -> bool:
        """Whether another concludes."""
        return self.name != "0"

    @property
    def over(self) -> bool:
        """Whether that one has ended the search."""
        return self.helps and self.claims.over

    @property
    def trying(self) -> int:
        """How many recipes others try now."""
        return len(self._theirs)

    @property
    def _theirs(self) -> Collection[str]:
        return {recipe for recipe, machine in self.claims.trying.items() if machine != self.name}

    def join(self, leave: Leave) -> None:
        """Begin."""
        self._leave = leave

    def news(self) -> list[Trial]:
        """Return the trials that others have ended since."""
        self._leave(self._theirs)
        news, self._news = self._news, []
        return news

    def claim(self, recipe: Recipe) -> bool:
        """Return whether this one is to try a recipe."""
        granted = self.claims.claim(self.name, recipe.key)
        self._leave(self._theirs)
        return granted

    def wait(self, deadline: float) -> bool:
        """Wait until something has changed; False where no other tries anything."""
        del deadline
        if not (self._news or self._theirs):
            return False
        if not self._news:
            self._waits = True
            self.world.pause(self)
        return True

    def part(self) -> list[Trial]:
        """End the search."""
        self.claims.over = self.claims.over or not self.helps
        return []

    def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        """Try a recipe, which takes its time, and let the others know."""
        del best, deadline
        trial = self.world.trial(number, recipe)
        self.world.wake(self, trial.duration_s)
        self.world.pause(self)
        self.claims.ended(trial)
        self.world.trials.append((self.world.now_s, trial))
        for other in self.others:
            if other is not self:
                other._news.append(trial)
                if other._waits:
                    other._waits = False
                    self.world.wake(other)
        return trial

    def search(self) -> None:
        """Search to the end, from its first turn on."""
        self.turn.acquire()
        try:
            self._search()
        finally:
            self.world.end()

    def _search(self) -> None:
        sampler = BayesianSampler(SPACE, "cpu", TOLERANCE, self.seed)
        self.join(sampler.leave)
        known, self._news = tuple(self._news), []
        for trial in known:
            self.claims.trials[trial.recipe.key] = trial
        for _ in study(self, sampler, known, TOLERANCE, math.inf, 10**9, crew=self):
            pass


def searched(seed: int, machines: int, patience: int, chances: int = 0) -> list[tuple[float, Trial]]:
    """Return the trials of a study with the moments at which they ended. chances: of the sampler, beside the seed."""
    bayesian.PATIENCE = patience
    world, claims = World(seed), Claims()
    crew: list[Machine] = []
    crew += (Machine(str(number), world, claims, crew, seed + chances) for number in range(machines))
    threads = [threading.Thread(target=machine.search, daemon=True) for machine in crew]
    for thread in threads:
        thread.start()
    for machine in crew:
        world.wake(machine, JOINS_S if machine.helps else 0.0)
    world.run()
    return world.trials


def until(trials: list[tuple[float, Trial]], goal: list[Trial]) -> float:
    """Return when each trial of a goal had been found, or one that is hardly worse in anything; infinite for never."""
    reached = 0.0
    for wanted in goal:
        as_good = (
            at_s
            for at_s, trial in trials
            if trial.cost <= NEAR * wanted.cost
            if (trial.peak_memory_bytes or 0) <= NEAR * (wanted.peak_memory_bytes or 0)
        )
        reached = max(reached, min(as_good, default=math.inf))
    return reached


def ratios(rows: Rows, count: int, part: int) -> list[float]:
    """Return how many times as fast as one machine so many were, in each study."""
    return [one[part] / own[part] for one, own in zip(rows[1], rows[count], strict=True)]


def said(rows: Rows, count: int, part: int) -> str:
    """Say how long a part took."""
    low, middle, high = statistics.quantiles(ratios(rows, count, part), n=4, method="inclusive")
    took_s = statistics.median(row[part] for row in rows[count])
    return f"{PARTS[part]} {took_s:.0f} s ({middle:.2f}, {low:.2f} to {high:.2f})"


def main() -> int:
    """Search, print, and say whether two are enough faster than one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--machines", default="1,2,4")
    asked = parser.parse_args()
    counts = [int(count) for count in asked.machines.split(",")]
    rows: dict[int, list[tuple[float, ...]]] = {count: [] for count in counts}
    repeated = 0
    for seed in range(asked.seeds):
        goal = front([trial for _, trial in searched(seed, 1, PATIENCE, chances=1000)], TOLERANCE)
        fastest = min(goal, key=lambda trial: trial.cost)
        for count in counts:
            ended, trials = searched(seed, count, PATIENCE), searched(seed, count, 10**9)
            repeated += len(trials) - len({trial.recipe.key for _, trial in trials})
            ends_s = (max(at_s for at_s, _ in each) for each in (ended, trials))
            rows[count].append((until(trials, [fastest]), until(trials, goal), *ends_s))
    print(f"{asked.seeds} studies; medians, and in brackets how many times as fast as one, with quartiles")
    for count in counts:
        print(f"{count} machines: {', '.join(said(rows, count, part) for part in range(len(PARTS)))}")
    print(f"{repeated} trials were repeated")
    return int(repeated > 0 or (2 in rows and statistics.median(ratios(rows, 2, 3)) < WANTED))


if __name__ == "__main__":
    sys.exit(main())
