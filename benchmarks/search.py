"""Every sampler on every recorded table: `python benchmarks/search.py [--repeats 100] [--sampler NAME]...`.

Tables are apart in those that the settings of our sampler were chosen on, and those that it is only tested on. Before
the scores of a table stands what no search can beat: that of one which tries a good recipe at once, or as its second.
With --as-in-life trials that are too slow are given up, where a trial costs the call that is timed, and tables of like
machines say where to begin. `--cliff` and `--asking` print other figures in the place of scores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.planner.cli.scores import print_scores
from autotune.search.recipe import Recipe
from autotune.search.replay.cliff import cliff
from autotune.search.replay.evaluator import TableEvaluator, search_table
from autotune.search.replay.random_search import expected
from autotune.search.replay.replay import Terms, replay
from autotune.search.replay.score import Score
from autotune.search.replay.table import Table, read_table
from autotune.search.samplers import DEFAULT, SAMPLERS, at_random, sampler_of

HERE = Path(__file__).parent
CACHE = "Fn Bn warmup_steps warmup_interval max_warm max_cached_steps residual_threshold taylorseer taylor_order"
CONVOLUTION = "block_size_x block_size_y tile_size_x tile_size_y read_only use_padding"
GRID = "precision memory_format fuse_qkv attention quantization tome_ratio guidance_cutoff offload compile"
LAMBDA = "precision xformers n_samples"
MOST = 100  # trials of a search
FIRST = 3  # recipes to begin with, from like machines


@dataclass(frozen=True)
class Recorded:
    """A table, and what its columns mean. tuned: whether settings of our sampler were chosen on it.

    like: how names of tables begin that other machines gave of the same.
    """

    @property
    def is_a_call(self) -> bool:
        """Whether a trial costs the call that is timed, so that giving it up early saves the rest."""
        return self.cost in {"", "latency"}

    name: str
    file: str
    knobs: str
    objective: str
    tuned: bool
    constraint: str = ""
    cost: str = ""
    where: str = ""
    like: str = ""

    def read(self) -> Table:
        """Return it."""
        return read_table(
            HERE / self.file,
            self.knobs.split(),
            self.objective,
            constraints=[self.constraint] if self.constraint else [],
            cost=self.cost,
            where=[self.where] if self.where else [],
        )


def _lambda(name: str, device: str, *, tuned: bool) -> Recorded:
    file = "tables/lambda_sd_gpu_precision_batch.csv"
    return Recorded(
        name, file, LAMBDA, "latency/n_samples", tuned, cost="latency", where=f"device={device}", like="lambda"
    )


def _convolution(name: str, device: str, knobs: str, *, tuned: bool) -> Recorded:
    file = f"tables/kt_convolution_{device}.csv"
    return Recorded(name, file, knobs, "time_ms", tuned, cost="compile_ms+benchmark_ms", like="convolution")


TABLES = (
    Recorded(
        "cogvideox",
        "tables/diffusers_torchao_cogvideox.csv",
        "fuse_qkv compile quantize_vae quantization",
        "time_s",
        tuned=True,
    ),
    _lambda("lambda A10", "NVIDIA A10", tuned=True),
    _lambda("lambda V100", "Tesla V100-SXM2-16GB", tuned=True),
    Recorded(
        "cache-dit", "tables/cache_dit_flux_l20_wide.csv", CACHE, "latency_s", tuned=False, constraint="lpips<=0.3"
    ),
    _convolution("convolution A4000", "A4000", f"{CONVOLUTION} use_shmem", tuned=True),
    _convolution("convolution 2080 Ti", "2080Ti", CONVOLUTION, tuned=False),
    Recorded(
        "shapes grid",
        "results/shapes_cpu_grid.csv",
        GRID,
        "latency_ms",
        tuned=False,
        constraint="feasible==True",
        cost="cost_s",
    ),
    _lambda("lambda A6000", "NVIDIA RTX A6000", tuned=False),
    _lambda("lambda A100", "NVIDIA A100-PCIE-40GB", tuned=False),
)


def begun_with(recorded: Recorded) -> tuple[Recipe, ...]:
    """Return the recipes that did best on other machines' tables, of those that settings were chosen on.

    As a sweep of a lab does, it begins with what costs least to try.
    """
    others = [each for each in TABLES if recorded.like and each.like == recorded.like and each.tuned]
    tables = [each.read() for each in others if each.name != recorded.name]
    slower, costs = defaultdict(list), defaultdict(list)
    for table in tables:
        best, mean = min(table.feasible.values()), statistics.fmean(row.cost for row in table.rows.values())
        for key, value in table.feasible.items():
            slower[table.rows[key].recipe].append(value / best)
            costs[table.rows[key].recipe].append(table.rows[key].cost / mean)
    fastest = sorted(slower, key=lambda recipe: statistics.fmean(slower[recipe]))[:FIRST]
    return tuple(sorted(fastest, key=lambda recipe: statistics.fmean(costs[recipe])))


def bound(table: Table, within: float = 1.05) -> tuple[float, float]:
    """Return how many times less than random search is needed at best: by the cheapest good recipe at once, and second.

    The second is an oracle with a single trial of the mean cost before.
    """
    target = within * min(table.feasible.values())
    cheapest = min(table.rows[key].cost for key, value in table.feasible.items() if value <= target)
    mean = statistics.fmean(row.cost for row in table.rows.values())
    usual = expected(table, target).cost
    return usual / cheapest, usual / (cheapest + mean)


def beyond_the_cliff(repeats: int) -> None:
    """Print how many of the trials after the tenth lie beyond a memory cliff, in worlds that nothing was chosen on."""
    for beyond in (0.3, 0.5, 0.7):
        for name in ("random", DEFAULT):
            shares = []
            for seed in range(1000, 1000 + repeats):
                table = cliff(seed, beyond)
                evaluator = TableEvaluator(table, noise_cv=0.03, seed=seed)
                steps = search_table(evaluator, table, sampler_of(name, table.space, seed), 60).steps[10:]
                shares += [statistics.fmean(step.objective is None for step in steps)] if steps else []
            mean, nine = statistics.fmean(shares), sorted(shares)[int(0.9 * len(shares))]
            say(f"{beyond:.0%} beyond, {name:<9} {mean:.1%} of the trials after the tenth (9 of 10 worlds: {nine:.1%})")


def asking() -> None:
    """Print the time of the processor that the default takes a trial, in a table of 4362 recipes and in one of 576."""
    for table in (next(each for each in TABLES if each.name == "convolution A4000").read(), cliff(0)):
        sampler = sampler_of(DEFAULT, table.space, 0)
        evaluator, took_ms = TableEvaluator(table), []
        for number, recipe in enumerate(itertools.islice(at_random(table.space, 0), 205)):
            trial = evaluator.evaluate(number, recipe, math.inf, math.inf)
            started = time.process_time()
            sampler.tell(trial)
            sampler.ask()
            took_ms.append(1000 * (time.process_time() - started))
        later = {count: statistics.median(took_ms[count - 5 : count + 5]) for count in (50, 100, 200)}
        say(f"{table.name}: " + ", ".join(f"{ms:.0f} ms at {count} trials" for count, ms in later.items()))


def main() -> None:
    """Search, and print the scores: the tables that were tuned on first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100, help="searches of each table by each sampler")
    parser.add_argument("--noise-cv", type=float, default=0.03, help="by how much measurements scatter")
    parser.add_argument("--sampler", action="append", choices=tuple(SAMPLERS), help="only this one; can be repeated")
    parser.add_argument("--table", action="append", choices=[each.name for each in TABLES], help="only this one")
    parser.add_argument("--as-in-life", action="store_true", help="slow trials are given up, like machines are asked")
    parser.add_argument("--cliff", action="store_true", help="trials beyond a memory cliff")
    parser.add_argument("--asking", action="store_true", help="what the sampler itself takes")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each score")
    options = parser.parse_args()
    if options.cliff:
        beyond_the_cliff(options.repeats)
    if options.asking:
        asking()
    if options.cliff or options.asking:
        return
    tested: list[Score] = []
    for recorded in sorted(TABLES, key=lambda each: not each.tuned):
        if not options.table or recorded.name in options.table:
            scores = print_table(recorded, options)
            tested += [] if recorded.tuned else scores
    if not options.json:
        print_summary(tested)


def print_summary(scores: Sequence[Score]) -> None:
    """Print what each sampler is worth over all tables that were only tested."""
    for name in dict.fromkeys(score.sampler for score in scores):
        own = [score for score in scores if score.sampler == name]
        mean = statistics.fmean(score.score.value or 0.0 for score in own)
        saved = [score.reaching[0].cost_saved.value or 0.0 for score in own]
        all_of_them = f"{statistics.geometric_mean(saved):.2g}x" if all(saved) else "not always found"
        say(
            f"{name}: a mean score of {mean:.2f} over {len(own)} tested tables; cost to 5 %: {all_of_them} in the "
            f"geometric mean, {min(saved):.3g}x at least, a fifth or less on {sum(each >= 5 for each in saved)}"
        )


def print_table(recorded: Recorded, options: argparse.Namespace) -> list[Score]:
    """Search one table with each sampler, print it, and return the scores."""
    table = recorded.read()
    terms = Terms(MOST, repeats=options.repeats, noise_cv=options.noise_cv)
    if options.as_in_life:
        terms = replace(terms, gives_up=recorded.is_a_call, first=begun_with(recorded))
    scores = [replay(table, name, terms)[0] for name in options.sampler or SAMPLERS]
    about = {"tuned": recorded.tuned, "name": recorded.name, "as_in_life": options.as_in_life}
    if options.json:
        for each in scores:
            say(json.dumps(about | each.model_dump()))
        return scores
    at_once, second = bound(table)
    say(f"\n{recorded.name} ({'settings were chosen on it' if recorded.tuned else 'only tested'})")
    say(f"within 5 % at best, by what is good and cheapest: {at_once:.1f}x at once, {second:.1f}x as the second trial")
    print_scores(table, scores)
    return scores


def say(line: str) -> None:
    """Print a line now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
