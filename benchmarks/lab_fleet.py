"""What merging the plans of many machines would cost, and whom it could fool: `python benchmarks/lab_fleet.py`.

Nothing of a fleet is built; this is what docs/lab.md says of one. Machines of one kind arrive one by one. Each measures
the recipe that is proposed, which costs it one trial, and one of 30 that it found itself, and reports both, with the
noise of machines that differ by 5 %. Proposed is the recipe with the highest median, or the highest lowest tenth, among
those with three reports of different machines. Liars report that a recipe, which truly is half as fast as the best, is
ten times as fast.

Printed: the bytes of a report and the seconds to merge, for 1 000 and for 100 000; after how many machines the proposal
stays within 2 % of the best; and with liars, how many honest machines spend a trial on the lie.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
import zlib
from bisect import insort
from collections import defaultdict
from dataclasses import dataclass, field

from autotune.tests.store.samples import plan

RECIPES = 30
FEWEST = 3
NOISE = 0.05
LIE = -1
NEAR = 1.02
MACHINES = 300


@dataclass
class Merged:
    """The reports of one scope. share: which of a recipe's sorted reports stands for it, from the lowest (0) on."""

    share: float = 0.5
    speedups: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def take(self, recipe: int, speedup: float) -> None:
        """Take a report in."""
        insort(self.speedups[recipe], speedup)

    def proposed(self) -> int | None:
        """Return the recipe that a machine should try first."""
        enough = {recipe: said for recipe, said in self.speedups.items() if len(said) >= FEWEST}
        return max(enough, key=lambda recipe: enough[recipe][int(self.share * len(enough[recipe]))], default=None)


def arrive(machines: int, liars: float, share: float, seed: int) -> tuple[int, int]:
    """Return after how many machines the proposal stayed good, and how many honest ones tried the lie."""
    chance = random.Random(seed)
    truth = {recipe: chance.uniform(1.0, 2.5) for recipe in range(RECIPES)}
    best = max(truth.values())
    truth[LIE] = best / 2
    likely = sorted(range(RECIPES), key=lambda recipe: -truth[recipe])[: RECIPES // 3]
    merged, bad, fooled = Merged(share), 0, 0
    for number in range(machines):
        if chance.random() < liars:
            merged.take(LIE, 10.0)
            continue
        own = chance.choice(likely)  # a search that found one of the better third
        proposed = merged.proposed()
        for recipe in {own, own if proposed is None else proposed}:
            merged.take(recipe, truth[recipe] * chance.lognormvariate(0, NOISE))
        fooled += proposed == LIE
        after = merged.proposed()
        bad = number + 1 if after is None or truth[after] * NEAR < best else bad
    return bad, fooled


def said(share: float, liars: float, seeds: int) -> str:
    """Return how the first machines of a kind fare."""
    found = [arrive(MACHINES, liars, share, seed) for seed in range(seeds)]
    good = sorted(bad for bad, _ in found)
    fooled = statistics.fmean(each for _, each in found)
    return (
        f"{100 * liars:.0f} % liars: within 2 % for good after {statistics.median(good):.0f} machines, "
        f"at the end of {MACHINES} in {sum(each < MACHINES for each in good)} of {seeds} times; "
        f"{fooled:.1f} of them spend a trial on the lie"
    )


def main() -> int:
    """Measure, simulate, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    asked = parser.parse_args()
    report = plan(1, "0190aaaa-0000-7000-8000-000000000000").model_dump_json().encode()
    print(f"a report: {len(report)} bytes, {len(zlib.compress(report))} packed")
    for count in (1_000, 100_000):
        chance, merged, started = random.Random(0), Merged(), time.perf_counter()
        for _ in range(count):
            merged.take(chance.randrange(RECIPES), chance.lognormvariate(0, NOISE))
        merged.proposed()
        took_s = time.perf_counter() - started
        print(f"{count} reports: merged in {took_s:.2f} s, {count * len(report) / 2**20:.1f} MiB as they come")
    for share in (0.5, 0.1):
        for liars in (0.0, 0.1, 0.3, 0.45):
            print(f"{'median' if share == 0.5 else 'lowest tenth'}: {said(share, liars, asked.seeds)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
