"""A rehearsal of a bad day in a lab: `python benchmarks/lab.py [--trials 12] [--trial-s 1]` (needs the extra `lab`).

A Ray cluster of this host has three nodes that are taken for machines, two of one make and one of another. Two models
are swept on them with trials that sleep (tests/lab/scripted.py). On the way a job's process is killed, then the driver
with -9, and while it is away a node of the pair is removed, as by a power cut; then the same command goes on.

Counted are trials that are in the store of the machine that made them and not in the driver's (lost), and those that
were made twice, by a line that each writes as it ends (repeated). What the removed node had not told yet is counted
apart, for nobody can know of it. It leaves with 1 where anything was lost or repeated, or the sweep did not end.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

LAB = """
name = "bad day"
budget = "{trials}trials"
retries = 5
[[model]]
name = "shapes"
[[model]]
name = "sd15"
weights = "random"
[[machine]]
label = {{ room = "b" }}
"""
PATIENCE_S = 300.0


class Rehearsal:
    """A cluster, a driver, and the log of what was run."""

    def __init__(self, folder: Path, asked: argparse.Namespace) -> None:
        self.folder, self.log = folder, folder / "log.tsv"
        self.log.touch()
        os.environ |= {
            "AUTOTUNE_HOME": str(folder),
            "LAB_LOG": str(self.log),
            "LAB_TRIAL_S": str(asked.trial_s),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        (folder / "lab.toml").write_text(LAB.format(trials=asked.trials))
        command = [sys.executable, "-m", "autotune.tests.lab.cluster", str(folder), "one=A", "two=A*1.2", "three=B"]
        quiet = {"stderr": subprocess.DEVNULL, "text": True}
        self.cluster = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **quiet)  # type: ignore[call-overload]
        self.address = self.answer("address")

    def answer(self, name: str) -> str:
        """Return what the cluster says under a name."""
        return next(str(json.loads(line)[name]) for line in self.cluster.stdout if line.startswith("{"))

    def remove(self, name: str) -> None:
        """Take a node away."""
        print("remove", name, file=self.cluster.stdin, flush=True)
        self.answer("removed")

    def drive(self) -> subprocess.Popen[str]:
        """Start a sitting of the sweep."""
        command = [sys.executable, "-m", "autotune.tests.lab.driver", str(self.folder / "lab.toml"), self.address]
        said = (self.folder / "said.txt").open("a")
        return subprocess.Popen(command, stdout=said, stderr=said, text=True)

    @property
    def ran(self) -> list[tuple[str, str, str]]:
        """The process, the run and the recipe of each trial that has ended."""
        lines = (line.split("\t") for line in self.log.read_text().splitlines())
        return [(process, run, recipe) for process, run, recipe in lines]

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait for something. Raises TimeoutError where it does not come."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            if time.monotonic() > deadline:
                raise TimeoutError((self.folder / "said.txt").read_text()[-2000:])
            time.sleep(0.1)


def bad_day(day: Rehearsal) -> int:
    """Let it happen, and return the exit code of the last sitting."""
    driver = day.drive()
    day.until(lambda: len(day.ran) >= 6)
    os.kill(int(day.ran[-1][0]), signal.SIGKILL)
    print(f"a job's process was killed after {len(day.ran)} trials")
    at = len(day.ran)
    day.until(lambda: len(day.ran) >= at + 6)
    driver.kill()
    driver.wait()
    print(f"the driver was killed with -9 after {len(day.ran)} trials")
    day.remove("two")
    print("a node was removed")
    return day.drive().wait(PATIENCE_S)


def in_store(file: Path) -> set[str]:
    """Return the trials of a store, by run and recipe."""
    with Store.read(file) as store:
        return {f"{run.id}, {trial.recipe.key}" for run in store.runs() for trial in run.trials}


def main() -> int:
    """Rehearse, count, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--trial-s", type=float, default=1.0)
    asked = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="autotune-lab-", ignore_cleanup_errors=True) as folder:
        day = Rehearsal(Path(folder), asked)
        try:
            code = bad_day(day)
        finally:
            day.cluster.communicate(timeout=60)
        ran = Counter(f"{run}, {recipe}" for _, run, recipe in day.ran)
        kept = in_store(Path(folder) / "data" / "sweeps" / "lab.db")
        untold = in_store(Path(folder) / "two" / "data" / "autotune.db") - kept
        lost = (
            in_store(Path(folder) / "one" / "data" / "autotune.db")
            | in_store(Path(folder) / "three" / "data" / "autotune.db")
        ) - kept
    repeated = [trial for trial, times in ran.items() if times > 1]
    print(f"exit {code} after {time.monotonic() - started:.0f} s; {ran.total()} trials were run, {len(kept)} are kept")
    print(f"{len(lost)} lost, {len(repeated)} repeated, {len(untold)} gone with their node before they were told")
    for trial in (*lost, *repeated):
        print(f"  {trial}")
    return int(code != 0 or bool(lost) or bool({*repeated} - untold))


if __name__ == "__main__":
    sys.exit(main())
