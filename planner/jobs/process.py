"""The process of a job, from the side that starts and ends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil

from ..apart import environment
from .idle import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ...value import Value

WORK = (sys.executable, "-P", "-m", "autotune.planner.jobs.work")
MOST_LINE_BYTES = 2**20
LOG_TAIL_BYTES = 1000
ENDED_WITHIN_S = 5.0
BEHIND: int = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10)  # that is what Windows calls it
"""A job's place in the queue for the processor: behind whatever else runs, the daemon's own answers for one."""


class Working:
    """A process that works on a job. It ends with whatever it started when its input is closed, or this process dies.

    folder: its own, for all that it leaves lying about; it is removed in the end.
    """

    def __init__(self, command: Sequence[str], sitting: Value, folder: Path) -> None:
        """Start it, and tell it what to do. Raises OSError."""
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)  # what a killed one has left
        (folder / "tmp").mkdir(mode=0o700, parents=True)
        self._log = folder / "errors.txt"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,  # an empty one, where no name of a model is by chance that of a folder
                env=environment() | {"TMPDIR": str(folder / "tmp")},
                start_new_session=True,
            )
        self.pid = self._process.pid
        with suppress(psutil.Error):  # it has ended already, or the daemon itself stands further behind
            psutil.Process(self.pid).nice(BEHIND)
        self.born_s = _born_s(self.pid)
        self.tell(sitting.model_dump_json())

    def tell(self, line: str) -> None:
        """Say a line to it, if it still listens."""
        with suppress(OSError, ValueError):
            if self._process.stdin:
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what it says, until it has ended. Raises ValueError for what is no event."""
        output = self._process.stdout
        while output and (line := output.readline(MOST_LINE_BYTES)):
            event = json.loads(line)
            if not isinstance(event, dict) or "event" not in event:
                msg = f"{line[:80]!r} is no event"
                raise ValueError(msg)
            yield event

    def kill(self) -> None:
        """End it and whatever it has started, at once."""
        end_tree(self.pid)

    def close(self) -> str:
        """See to it that nothing of it is left, and return the last words of one that had any."""
        with suppress(subprocess.TimeoutExpired):  # it has said all, and mostly is about to end
            self._process.wait(ENDED_WITHIN_S)
        self.kill()
        status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        said = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        shutil.rmtree(self._folder, ignore_errors=True)
        return f"Its process ended with status {status}. {said}".strip()


def end_left(pid: int, born_s: float) -> None:
    """End the process that a daemon before this one has left, if it still is that one, and whatever it has started."""
    if pid and abs(_born_s(pid) - born_s) < 1:
        end_tree(pid)


def end_tree(pid: int) -> None:
    """Kill a process and whatever it has started, and wait until they are gone."""
    tree = []
    for each in tree_of(pid):
        with suppress(psutil.Error):
            tree.append(psutil.Process(each))
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for process in tree:
        with suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + ENDED_WITHIN_S
    while any(map(_is_alive, tree)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process still does anything: one that nobody has waited for is dead all the same."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _born_s(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0
