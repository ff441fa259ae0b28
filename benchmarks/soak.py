"""Simulated trials at a high rate, beside a daemon that serves: what grows, and what is left behind.

`python benchmarks/soak.py [--minutes 20] [--output FILE.json]`

One process does what a tuner does, with trials that take a hundredth of a second: it forks each from the template,
asks it, ends it, keeps it in the store, ends runs and makes copies; each tenth trial goes wrong. A daemon in a process
of its own is asked for the plan all the while, and told what became of it. Every few seconds the descriptors, threads
and resident memory of both and of the template are noted. The slopes come from the second half of the time (Theil and
Sen: the median of the slopes between all pairs). It ends with exit code 1 where one is not flat.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from autotune.errors import AutotuneError
from autotune.planner.client import Client
from autotune.probes.machine import probe
from autotune.search.measured import Latency, Trial
from autotune.search.plan import Plan, Scope
from autotune.search.recipe import Recipe
from autotune.search.trial.failure import TrialFailure
from autotune.search.trial.process import Template
from autotune.search.trial.tree import MARK
from autotune.search.workload import Workload
from autotune.store.places import data_dir
from autotune.store.run import now
from autotune.store.store import FILE_NAME, Store

MODULES = ("autotune.search.trial.worker", "autotune.tests.faults.broken")
BAD = ("dies of SIGSEGV", "exits 3", "no memory on the device", "NaN", "setsid", "a list")
TRIALS_A_RUN = 50
NOTE_S = 5.0
FLAT_MIB_AN_HOUR = 50.0


class Tuner:
    """Keeps trials, run after run."""

    def __init__(self) -> None:
        self.machine = probe()
        self.trials = self.failed = self.runs = self.kept_bytes = 0

    def run(self, template: Template, store: Store, end_s: float) -> None:
        """Do one run."""
        scope = Scope(
            model="soak",
            revision="0",
            machine=self.machine.fingerprint,
            software=self.machine.software.key,
            device="cpu",
            workload=Workload(width=64, height=64, steps=1, guidance=1.0),
            scorer="",
            prompts="",
            tolerance=0.01,
        )
        run = store.begin_run(scope, self.machine, fresh=True)
        for number in range(TRIALS_A_RUN):
            if time.monotonic() > end_s:
                break
            store.keep_trial(run.id, self.trial(template, number))
        latency = Latency(samples_ms=(10.0,))
        plan = Plan(
            scope=scope,
            recipe=Recipe(turned={"threads": 1}),
            latency=latency,
            baseline_latency=Latency(samples_ms=(20.0,)),
            speedup=2.0,
            speedup_low=1.9,
            speedup_high=2.1,
            raced=True,
            load_s=0.1,
            cold_s=0.1,
            peak_memory_bytes=10**8,
            baseline_peak_memory_bytes=10**8,
            quality=None,
            run=run.id,
            created_at=now(),
        )
        store.finish_run(run.id, "soaked", [plan], finished=True)
        self.runs += 1

    def trial(self, template: Template, number: int) -> Trial:
        """Do one trial."""
        way = BAD[self.trials // 10 % len(BAD)] if self.trials % 10 == 9 else ""
        self.trials += 1
        recipe = Recipe(turned={"threads": number + 1})
        order = {"recipe": {"turned": {"precision": way}}}
        started_at, started = now(), time.monotonic()
        outcome, detail = "ok", ""
        try:
            with template.fork() as process:
                process.ask({"do": "load", "order": order}, 10)
                process.ask({"do": "run", "prompts": ["a"], "seeds": [1], "folder": ""}, 10)
        except TrialFailure as failure:
            outcome, detail = failure.outcome, failure.detail
            self.failed += 1
        return Trial(
            number=number,
            recipe=recipe,
            outcome=outcome,  # type: ignore[arg-type]  # of a failure, or ok
            detail=detail,
            latency=Latency(samples_ms=(10.0,)) if outcome == "ok" else None,
            started_at=started_at,
            duration_s=time.monotonic() - started,
        )


@contextmanager
def daemon() -> Iterator[int]:
    """A daemon in a process of its own; yields its process id."""
    code = "from autotune.planner.daemon.serve import serve; serve(port=0)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        if process.stdout:
            process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def asking(end_s: float) -> None:
    """Ask the daemon until the end, and tell it what became of plans, as apps do; print the counts."""
    asked, refused, longest_ms = 0, 0, 0.0
    while time.monotonic() < end_s:
        started = time.perf_counter()
        try:
            plan = Client(timeout_s=5).plan("soak").plan
            if asked % 20 == 0:
                Client(timeout_s=5).report(plan.id, "ok", latency_ms=10.0)
        except AutotuneError:
            refused += 1
        longest_ms = max(longest_ms, (time.perf_counter() - started) * 1000)
        asked += 1
        time.sleep(0.02)
    print(json.dumps({"asked": asked, "refused": refused, "longest_ms": round(longest_ms, 1)}))


def noted(pids: dict[str, int]) -> dict[str, float]:
    """Return what is to stay flat, now."""
    found: dict[str, float] = {}
    for name, pid in pids.items():
        process = psutil.Process(pid)
        found |= {
            f"{name}_descriptors": process.num_fds(),
            f"{name}_threads": process.num_threads(),
            f"{name}_rss_mib": process.memory_info().rss / 2**20,
        }
    return found


def slope_an_hour(times_s: list[float], values: list[float]) -> float:
    """Return by how much a value grows in an hour, by the median of the slopes between pairs."""
    pairs = itertools.combinations(zip(times_s, values, strict=True), 2)
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in pairs if t > s]
    return statistics.median(slopes) * 3600 if slopes else 0.0


def left_behind(mark: str) -> int:
    """Return how many processes have the mark of a template."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            count += f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
    return count


def soak(minutes: float) -> dict[str, Any]:
    """Do it for so long, and return what was found."""
    tuner, notes = Tuner(), []
    times_s: list[float] = []
    begun_s = time.monotonic()
    end_s = begun_s + minutes * 60
    app = [sys.executable, __file__, "--ask-until", str(end_s)]
    with Store.open() as store, Template(MODULES) as template, daemon() as served:
        mark = template.mark
        tuner.run(template, store, begun_s + 2)
        asker = subprocess.Popen(app, stdout=subprocess.PIPE, text=True)
        while time.monotonic() < end_s:
            tuner.run(template, store, end_s)
            if not times_s or time.monotonic() - begun_s - times_s[-1] >= NOTE_S:
                times_s.append(time.monotonic() - begun_s)
                notes.append(noted({"tuner": os.getpid(), "template": template.pid, "daemon": served}))
        asked = json.loads(asker.communicate(timeout=60)[0])
        orphans = left_behind(mark) - 1
        damage = store.damage
    file = data_dir() / FILE_NAME
    half = len(notes) // 2
    slopes = {name: slope_an_hour(times_s[half:], [note[name] for note in notes[half:]]) for name in notes[-1]}
    return {
        "minutes": round((time.monotonic() - begun_s) / 60, 2),
        "trials": tuner.trials,
        "failed": tuner.failed,
        "runs": tuner.runs,
        "asked": asked,
        "first": notes[0],
        "last": notes[-1],
        "slopes_an_hour": {name: round(slope, 3) for name, slope in slopes.items()},
        "store_bytes": file.stat().st_size,
        "store_bytes_a_trial": round(file.stat().st_size / tuner.trials, 1),
        "copies": len(list((file.parent / "backups").iterdir())),
        "damage": list(damage),
        "orphans": orphans,
        "left_in_the_end": left_behind(mark),
    }


def wrong(found: dict[str, Any]) -> list[str]:
    """Return in sentences what is not as it should be."""
    problems = [f"{found[name]} {name}" for name in ("orphans", "left_in_the_end") if found[name]]
    problems += [str(found["damage"])] if found["damage"] else []
    for name, slope in found["slopes_an_hour"].items():
        most = FLAT_MIB_AN_HOUR if name.endswith("_mib") else 1.0
        if slope > most:
            problems.append(f"{name} grows by {slope:.1f} an hour")
    refused = found["asked"]["refused"]
    return [*problems, *([f"{refused} questions were refused"] if refused else [])]


def main() -> None:
    """Soak, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--ask-until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ask_until:
        asking(arguments.ask_until)
        return
    with TemporaryDirectory(prefix="autotune-soak-") as home:
        os.environ["AUTOTUNE_HOME"] = home
        found = soak(arguments.minutes)
    problems = wrong(found)
    text = json.dumps({**found, "wrong": problems}, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
