"""What it costs when threads that wait do not spin: alone, and beside a process that keeps one core busy.

    python benchmarks/wait_policy.py benchmarks/results/wait_policy.csv

Each row is a process of its own, started with one wait policy, that calls unmodified `shapes`; the policies take turns.
One that did not come to its end within 150 s has an infinite time.
"""

from __future__ import annotations

import csv
import itertools
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from autotune.planner.catalogue import find_model
from autotune.search.pipeline import call_pipeline, load_pipeline

POLICIES: dict[str, dict[str, str]] = {
    "default": {},
    "PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
}
ROUNDS, CALLS, STEPS = 4, 3, 3
LIMIT_S = 150
BUSY = "while True: pass"


def main() -> None:
    """Write the table, row by row."""
    with Path(sys.argv[1]).open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file)
        writer.writerow(("policy", "busy_processes_beside", "median_ms", "fastest_ms", "load_average"))
        for _, beside, name in itertools.product(range(ROUNDS), (0, 1), POLICIES):
            writer.writerow((name, beside, *measured(POLICIES[name], beside)))
            file.flush()


def measured(environment: dict[str, str], beside: int) -> tuple[float, float, float]:
    """Return the median and the fastest call of a fresh process in milliseconds, and the load when it ended."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(beside)]
    try:
        command = [sys.executable, __file__, "--call"]
        said = subprocess.run(
            command, env=clean | environment, capture_output=True, text=True, check=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return math.inf, math.inf, round(os.getloadavg()[0], 2)
    finally:
        for each in busy:
            each.kill()
            each.wait()
    samples_ms = [float(word) for word in said.stdout.split()]
    return round(statistics.median(samples_ms), 1), round(min(samples_ms), 1), round(os.getloadavg()[0], 2)


def call() -> None:
    """Print the milliseconds of a few warm calls."""
    model = find_model("shapes")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    pipe = load_pipeline(model.card, dtype=torch.float32)
    workload = model.workload.model_copy(update={"steps": STEPS})
    for number in range(CALLS + 1):
        started = time.perf_counter()
        call_pipeline(pipe, workload, model.prompts[0], seed=0, output_type="np")
        if number:
            print((time.perf_counter() - started) * 1000)


if __name__ == "__main__":
    call() if "--call" in sys.argv else main()
