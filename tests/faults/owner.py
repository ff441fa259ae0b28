"""Tuners that are killed: for each line on its input, a fork starts a template whose trials go wrong in the named ways.

It prints the tuner's process id, and the mark of the template.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress

from autotune.search.trial.failure import TrialFailure
from autotune.search.trial.process import Template, TrialProcess

MODULES = ("autotune.search.trial.worker", "autotune.tests.faults.broken")


def own(ways: list[str]) -> None:
    """Ask a trial for each way to go wrong, and wait for them."""
    with Template(MODULES) as template:
        trials = [template.fork() for _ in ways]
        for trial, way in zip(trials, ways, strict=True):
            threading.Thread(target=ask, args=(trial, way), daemon=True).start()
        os.write(1, f"{os.getpid()} {template.mark}\n".encode())
        time.sleep(60)


def ask(trial: TrialProcess, way: str) -> None:
    with suppress(TrialFailure):
        trial.ask({"do": "load", "order": {"recipe": {"turned": {"precision": way}}}}, 60)


def main() -> None:
    """Fork for each line; whoever reads what is said kills it."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            own(line.strip().split(","))
            os._exit(0)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
