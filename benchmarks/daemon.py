"""How the daemon answers, idle and while it tunes: `python benchmarks/daemon.py [--seconds 60] [-o FILE]`.

A load of our own on loopback. Idle: how long it takes from its start to its first answer, what a plan takes then, how
much memory it has, and whether torch is in it. Busy: 200 questions a second while a job runs, and how long those take.
Disturbed: calls of the unmodified pipeline, in turns with such a load and without, on all cores and on all but one.
Without a daemon: how long a client takes to a plan.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from autotune.search.trial.process import trial_environment

RATE = 200
SERVE = "from autotune.planner.daemon.serve import serve; serve(port=0)"
ASK = """
import time
began = time.perf_counter()
import autotune
autotune.plan("shapes")
print(time.perf_counter() - began)
"""
LONG = {"model": "shapes", "fresh": True, "budget_s": 3600}


@contextmanager
def serving() -> Iterator[tuple[str, psutil.Process, float]]:
    """Yield a daemon's url and process, and how long it took to its first answer."""
    from autotune.planner.client import Client

    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True) as process:
        url = next(process.stdout or iter(())).split()[3]
        Client(url, timeout_s=10).plan("shapes")
        first_s = time.perf_counter() - began
        try:
            yield url, psutil.Process(process.pid), first_s
        finally:
            process.terminate()


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    writer.write(b"GET /v1/plan?model=shapes HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split()[1])


async def load(url: str, rate: float, seconds: float, connections: int = 8) -> dict[str, Any]:
    """Ask at a fixed rate, whether or not the last answer has come, and return what that took.

    A question that waits for a free connection waits on our account, so its time counts from before that. By how much
    our own clock rang late is told apart: asyncio sleeps in whole milliseconds.
    """
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await _connect(url))
    taken_ms: list[float] = []
    late_ms: list[float] = []
    failed: list[str] = []

    async def one(asked_s: float) -> None:
        connection = await free.get()
        try:
            status = await _ask(*connection)
            if status != 200:
                failed.append(str(status))
            taken_ms.append((time.perf_counter() - asked_s) * 1000)
        except (OSError, asyncio.IncompleteReadError) as error:
            failed.append(type(error).__name__)
            connection = await _connect(url)
        free.put_nowait(connection)

    began, asked = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        late_ms.append((time.perf_counter() - due) * 1000)
        asked.append(asyncio.create_task(one(time.perf_counter())))
    await asyncio.gather(*asked)
    return {
        "questions": len(asked),
        "errors": len(failed),
        "p50_ms": _percentile(taken_ms, 50),
        "p99_ms": _percentile(taken_ms, 99),
        "most_ms": _percentile(taken_ms, 100),
        "late_p50_ms": _percentile(late_ms, 50),
        "late_p99_ms": _percentile(late_ms, 99),
    }


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 2)


def tune_briefly() -> None:
    """Make a store with a plan in it."""
    from autotune.planner.request import Request
    from autotune.planner.tune import tune

    tune(Request(model="shapes", budget_s=240, most_trials=8))


def idle(seconds: float) -> dict[str, Any]:
    """Measure a daemon that has nothing to do."""
    with serving() as (url, process, first_s):
        time.sleep(3)  # the store rests, and so is read once
        found = asyncio.run(load(url, 20, seconds, connections=1))
        return {
            "first_answer_s": round(first_s, 2),
            **found,
            "resident_mib": round(process.memory_info().rss / 2**20, 1),
            "torch": any("libtorch" in each.path for each in process.memory_maps()),
        }


def busy(seconds: float) -> dict[str, Any]:
    """Measure a daemon whose job calls the unmodified pipeline again and again, by turns with and without a load."""
    from autotune.planner.client import Client

    with serving() as (url, process, _):
        job = Client(url, timeout_s=10).jobs.add(**LONG)
        while Client(url, timeout_s=10).jobs.get(job.id).trials < 1:
            time.sleep(1)
        found = asyncio.run(load(url, RATE, seconds))
        during = Client(url, timeout_s=10).jobs.get(job.id).trials
        Client(url, timeout_s=10).jobs.tell(job.id, "cancel")
        return {**found, "trials": during, "resident_mib": round(process.memory_info().rss / 2**20, 1)}


CALLS = """
import json, statistics, sys, time, torch
from autotune.planner.catalogue import find_model
from diffusers import DiffusionPipeline
model = find_model("shapes")
pipe = DiffusionPipeline.from_pretrained(model.card.folder, dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)
call = {"num_inference_steps": 20, "guidance_scale": 3.0, "width": 128, "height": 128, "output_type": "np"}
for line in sys.stdin:
    began = time.perf_counter(); pipe("a red circle", generator=torch.Generator().manual_seed(0), **call)
    print((time.perf_counter() - began) * 1000, flush=True)
"""


def disturbed(rounds: int, spare: int = 0) -> dict[str, Any]:
    """Measure calls of the unmodified pipeline in turns: one beside a load of RATE questions a second, one without.

    spare: how many cores the pipeline leaves alone.
    """
    told = {"AUTOTUNE_HOME": os.environ["AUTOTUNE_HOME"], "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)) - spare)}
    with (
        serving() as (url, _, _),
        subprocess.Popen(
            [sys.executable, "-c", CALLS],
            env=trial_environment(told),  # its threads wait as a trial's do
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as pipeline,
    ):

        def call() -> float:
            print(file=pipeline.stdin, flush=True)
            return float(next(pipeline.stdout or iter(())))

        async def beside() -> float:
            asking = asyncio.create_task(load(url, RATE, 30))
            await asyncio.sleep(0.2)
            taken_ms = await asyncio.to_thread(call)
            asking.cancel()
            return taken_ms

        call()
        pairs = [(call(), asyncio.run(beside())) for _ in range(rounds)]
        pipeline.kill()
    ratios = sorted(with_load / alone for alone, with_load in pairs)
    return {
        "alone_ms": round(statistics.median(alone for alone, _ in pairs), 1),
        "beside_ms": round(statistics.median(with_load for _, with_load in pairs), 1),
        "slower_by": round(statistics.median(ratios) - 1, 4),
        "pairs": rounds,
    }


def alone(times: int = 7) -> dict[str, Any]:
    """Measure a client where no daemon lives, imports included; what is installed was compiled long before."""
    around = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def to_a_plan_s() -> float:
        asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, env=around)
        return float(asked.stdout)

    to_a_plan_s()  # compiles
    return {"to_a_plan_s": round(statistics.median(to_a_plan_s() for _ in range(times)), 3)}


def main() -> None:
    """Measure, print, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    with TemporaryDirectory() as home:
        os.environ["AUTOTUNE_HOME"] = os.environ.get("AUTOTUNE_HOME") or home
        tune_briefly()
        found: dict[str, Any] = {"load_average": os.getloadavg()[0], "cores": len(os.sched_getaffinity(0))}
        measures: tuple[tuple[str, Callable[[], dict[str, Any]]], ...] = (
            ("without", alone),
            ("idle", lambda: idle(10)),
            ("busy", lambda: busy(asked.seconds)),
            ("disturbed", lambda: disturbed(asked.rounds)),
            ("disturbed, a core to spare", lambda: disturbed(asked.rounds, spare=1)),
        )
        for name, measure in measures:
            found[name] = measure()
            print(name, json.dumps(found[name]), flush=True)
    if asked.output:
        asked.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
