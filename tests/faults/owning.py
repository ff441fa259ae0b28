"""Processes that want to be the only tuner, or the only daemon, at the same moment.

`python -m autotune.tests.faults.owning tuner COUNT` starts so many at once for each line on its input, and prints how
many are told that they are not the one, and how many go on. Those are killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from autotune.errors import AutotuneError
from autotune.planner.daemon.serve import serve
from autotune.planner.lock import the_only_tuner

PATIENCE_S = 5


def tune() -> None:
    """Hold the lock of tuners until killed."""
    with the_only_tuner():
        time.sleep(60)


def listen() -> None:
    """Be the daemon until killed."""
    serve(port=0, say=lambda _: None)


def say(*words: object) -> None:
    """Print a line with one write."""
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


def contend(own: Callable[[], None], start_s: float) -> None:
    """Try at the same moment as the others."""
    time.sleep(max(0.0, start_s - time.monotonic()))
    tried_s = time.monotonic()
    try:
        own()
    except AutotuneError as error:
        say("refused", error.exit_code, f"{time.monotonic() - tried_s:.3f}")


def main(own: Callable[[], None], count: int) -> None:
    """Let `count` processes contend, once for each line."""
    for _ in sys.stdin:
        start_s = time.monotonic() + 0.01
        pids = []
        for _ in range(count):
            pid = os.fork()
            if not pid:
                try:
                    contend(own, start_s)
                finally:
                    os._exit(0)
            pids.append(pid)
        gone: set[int] = set()
        while len(gone) < count - 1 and time.monotonic() < start_s + PATIENCE_S:
            gone |= {os.waitpid(-1, os.WNOHANG)[0]} - {0}
            time.sleep(0.005)
        say("owners", count - len(gone))
        for pid in {*pids} - gone:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        say("gone")


if __name__ == "__main__":
    main({"tuner": tune, "daemon": listen}[sys.argv[1]], int(sys.argv[2]))
