"""A process that is asked again and again: a driver that hangs or dies takes it along, and nobody else."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from .child import MOST_BYTES, end, environment


class Teller:
    """Runs a module that answers each line of its input with one line of JSON, and ends with its input."""

    def __init__(self, module: str, pythonpath: Sequence[Path] = ()) -> None:
        """Prepare. module: such as autotune.probes.nvidia_watch. pythonpath: where it looks for modules first."""
        self._module = module
        self._pythonpath = pythonpath
        self._process: subprocess.Popen[bytes] | None = None
        self._said: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    @property
    def lives(self) -> bool:
        """Whether it was started, and has not ended since."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; what is left of one before is ended. Raises OSError."""
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(self._pythonpath),
            bufsize=0,
            start_new_session=True,
        )
        self._said = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(self._process.stdout, self._said), daemon=True).start()

    def ask(self, patience_s: float) -> Any:
        """Return what it answers now, as JSON says it; None where it says nothing in time, and it is ended then."""
        if self._process is None or self._process.stdin is None:
            return None
        with suppress(OSError, ValueError, queue.Empty):
            self._process.stdin.write(b"\n")
            return json.loads(self._said.get(timeout=patience_s))
        self.close()  # its driver hangs or has died, and would again
        return None

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process is None:
            return
        end(self._process)
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()
        self._process = None


def _listen(pipe: IO[bytes], said: queue.SimpleQueue[bytes]) -> None:
    """Hand on line by line what comes out of a pipe until its end, which reads as an empty line, and close it."""
    with pipe:
        while line := pipe.readline(MOST_BYTES):
            said.put(line)
    said.put(b"")
