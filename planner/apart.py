"""Long work in a process of its own, which says how far it is, and ends with whatever it does when nobody waits for it.

Two ends of two pipes. `work_apart` starts `python -m MODULE` and hears JSON lines: `{"bytes": 10, "of": 20}`, and last
either what came of it or `{"refused": "a sentence"}`. The process ends when its input is closed, as it is when whoever
started it is killed: `channel` sees to that, and `say` writes a line to it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any

from ..errors import ModelError

OnProgress = Callable[[int, int], None]
"""Hears how many bytes are here, and of how many."""


def ignore_progress(_done_bytes: int, _total_bytes: int) -> None:
    """Hear it, and tell nobody."""


def work_apart(module: str, arguments: Sequence[str], on_progress: OnProgress, failed: str) -> dict[str, Any]:
    """Return the last answer of a module that runs as a process of its own, with the user's environment.

    Raises ModelError with the sentence that it found, or with `failed` where it ended without any.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    answer: dict[str, Any] = {}
    with process:
        try:
            for line in process.stdout or ():
                answer = json.loads(line)
                if "of" in answer:
                    on_progress(answer["bytes"], answer["of"])
        except BaseException:
            _kill(process)
            raise
    if "refused" in answer:
        raise ModelError(answer["refused"])
    if not answer or "of" in answer:
        raise ModelError(f"{failed} (status {process.returncode}).")
    return answer


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment() -> dict[str, str]:
    """Return the environment of the process: the user's own, as token and proxy are the client's business."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def channel(on_line: Callable[[str], None] = lambda _: None) -> IO[str]:
    """Return where the process answers; what libraries print is no answer, and goes to the errors.

    on_line: hears, in a thread of its own, each line that the process is told.
    """
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_leave_when_left, args=(on_line,), daemon=True).start()
    return output


def _leave_when_left(on_line: Callable[[str], None]) -> None:
    for line in sys.stdin:
        on_line(line.strip())
    os._exit(1)


def say(output: IO[str], answer: dict[str, Any]) -> None:
    """Write a line."""
    output.write(json.dumps(answer) + "\n")
    output.flush()
