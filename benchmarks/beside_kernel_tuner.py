"""Kernel Tuner's strategies and ours on Kernel Tuner's own tables: `python benchmarks/beside_kernel_tuner.py PYTHON`.

PYTHON is that of an environment in which `pip install kernel_tuner` was done: it is no dependency of this project. Each
gets the cost of so many trials on average, in the same table, without noise; ours ends before by itself where it
does in life. Printed is the best that was found, as times the table's best: the mean with its 95 % bootstrap interval,
and the median.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from autotune.search.replay.evaluator import TableEvaluator, search_table
from autotune.search.replay.table import Table, read_table
from autotune.search.samplers import DEFAULT, sampler_of

TABLES = Path(__file__).parent / "tables"
DEVICES = ("A4000", "2080Ti")  # settings of ours were chosen on the first alone
STRATEGIES = ("genetic_algorithm", "simulated_annealing", "diff_evo", "pso", "greedy_ils", "dual_annealing")
THERE = """
import contextlib, io, json, random, sys
import numpy
from kernel_tuner import tune_kernel
cache, strategy, seed, budget_s, parameters = sys.argv[1:]
seed = int(seed)
random.seed(seed); numpy.random.seed(seed)
options = {"time_limit": float(budget_s)}
parameters = json.loads(parameters)
known = set(json.load(open(cache))["cache"])
listed = lambda each: ",".join(str(each[name]) for name in parameters) in known
with contextlib.redirect_stdout(io.StringIO()):
    results, _ = tune_kernel("convolution", "", (4096, 4096), [], parameters, restrictions=listed, cache=cache,
        strategy=strategy, strategy_options=options, simulation_mode=True, verbose=False, quiet=True)
times = [each["time"] for each in results if isinstance(each.get("time"), float)]
print(json.dumps(min(times, default=None)))
"""


def main() -> None:
    """Search with each, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="of an environment with kernel_tuner")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0, help="the others follow")
    parser.add_argument("--trials", type=int, default=100, help="of random search, whose cost each may have")
    parser.add_argument("--device", action="append", choices=DEVICES, help="whose table; can be repeated")
    options = parser.parse_args()
    for device in options.device or DEVICES:
        compare(TABLES / f"kt_convolution_{device}.csv", options)


def compare(file: Path, options: argparse.Namespace) -> None:
    """Search one table with each."""
    with file.open(newline="", encoding="utf-8") as lines:
        knobs = [column for column in next(csv.reader(lines)) if not column.endswith("_ms")]
    table = read_table(file, knobs, "time_ms", cost="compile_ms+benchmark_ms")
    best = min(table.feasible.values())
    budget = options.trials * statistics.fmean(row.cost for row in table.rows.values())
    seeds = range(options.first_seed, options.first_seed + options.repeats)
    sys.stdout.write(
        f"{file.stem}: {len(table.rows)} recipes, {budget / 1000:.0f} s each, {options.repeats} searches\n"
    )
    for name in (DEFAULT, "random"):
        show(f"ours: {name}", [ours(table, name, seed, budget) / best for seed in seeds])
    with tempfile.TemporaryDirectory() as folder:
        cache, parameters = written(Path(folder), file, table)
        for strategy in STRATEGIES:
            command = [options.python, "-c", THERE, str(cache), strategy]
            found = [theirs([*command, str(seed), str(budget / 1000), parameters]) for seed in seeds]
            show(f"Kernel Tuner: {strategy}", [each / best for each in found])


def ours(table: Table, name: str, seed: int, budget: float) -> float:
    """Return the best that a sampler of ours finds."""
    steps = search_table(TableEvaluator(table, budget), table, sampler_of(name, table.space, seed), 10_000).steps
    return min(step.objective for step in steps if step.objective is not None)


def theirs(command: list[str]) -> float:
    """Return the best that a strategy of Kernel Tuner's finds."""
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(answer.stdout.splitlines()[-1]))


def written(folder: Path, table_file: Path, table: Table) -> tuple[Path, str]:
    """Return the table as a cache file of Kernel Tuner's, and its parameters."""
    parameters = {name: list(choices) for name, choices in table.space.choices.items()}
    entries = {}
    with table_file.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            choices = {name: int(line[name]) for name in parameters}
            time = line["time_ms"]
            price = {"compile_time": float(line["compile_ms"] or 0), "benchmark_time": float(line["benchmark_ms"] or 0)}
            result = {"time": time.removeprefix("invalid:") if time.startswith("invalid") else float(time)}
            entries[",".join(map(str, choices.values()))] = choices | result | price | {"verification_time": 0.0}
    cache = folder / "cache.json"
    about = {"device_name": table_file.stem, "kernel_name": "convolution", "problem_size": [4096, 4096]}
    tuned = {"tune_params_keys": [*parameters], "tune_params": parameters, "objective": "time", "cache": entries}
    cache.write_text(json.dumps(about | tuned))
    return cache, json.dumps(parameters)


def show(name: str, found: list[float]) -> None:
    """Print the mean of what was found with its interval, and the median."""
    drawn = np.random.default_rng(0).choice(found, (2000, len(found))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    figures = f"{statistics.fmean(found):.3f} ({low:.3f} to {high:.3f}), median {statistics.median(found):.3f}"
    sys.stdout.write(f"{name:<36}{figures}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
