"""What stands on a machine of the lab for as long as a sweep goes on: starts jobs, and passes on what they say.

Runs in a process of Ray's. A job is a process of its own below it, which ends when this one does.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

ENDED = ""
"""Stands behind the last line of a job."""


M = TypeVar("M", bound=Callable[..., Any])

BESIDE = "beside"
"""The thread of a desk that talks while the other listens."""


def _beside(method: M) -> M:
    """Mark a method for that thread, as `ray.method` does; what runs at the other end of a ray:// reads it here."""
    vars(method)["__ray_concurrency_group__"] = BESIDE
    return method


class Desk:
    """One job at a time. All that goes in and out is text: nothing of ours is pickled."""

    def __init__(self, folders: list[str]) -> None:
        """Prepare. folders: where the driver finds its modules, for those that are here too."""
        self._folders = folders
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def look(self) -> str:
        """Return the machine and what it has of runs that have not ended, as JSON."""
        from .job import looked

        return looked().model_dump_json()

    def start(self, module: str, order: str) -> None:
        """Start a job; one that still runs is ended."""
        self._end()
        self._lines = queue.SimpleQueue()
        with tempfile.NamedTemporaryFile("w", prefix="autotune-job-", suffix=".json", delete=False) as file:
            file.write(order)
        here = [folder for folder in self._folders if Path(folder).is_dir()]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, file.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(here),
            start_new_session=True,
            text=True,
        )
        arguments = (self._process.stdout, self._lines, file.name)
        threading.Thread(target=_listen, args=arguments, daemon=True).start()

    def hear(self, wait_s: float) -> list[str]:
        """Return what the job has said since, waiting a while for the first line; `ENDED` is the last."""
        lines = []
        with suppress(queue.Empty):
            lines.append(self._lines.get(timeout=wait_s))
            while True:
                lines.append(self._lines.get_nowait())
        return lines

    @_beside
    def say(self, line: str) -> None:
        """Tell the job a line; one that has ended hears none."""
        if self._process and self._process.stdin:
            with suppress(OSError, ValueError):
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()

    @_beside
    def stop(self) -> None:
        """Have the job conclude what it has found."""
        if self._process:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGINT)

    def _end(self) -> None:
        if self._process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _environment(folders: list[str]) -> dict[str, str]:
    """Return what is around a job on a desk: Ray says how many threads there are to be, which the search would find."""
    usual = {name: said for name, said in os.environ.items() if name != "OMP_NUM_THREADS"}
    return usual | {"PYTHONPATH": os.pathsep.join([*folders, *filter(None, sys.path)])}


def _listen(output: IO[str] | None, lines: queue.SimpleQueue[str], order: str) -> None:
    for line in output or ():
        lines.put(line.rstrip("\n"))
    Path(order).unlink(missing_ok=True)
    lines.put(ENDED)
