"""Asking in a process of its own: a driver that hangs, crashes or shouts then hurts nobody.

Two ends of one pipe. `ask_child` starts `python -m MODULE`, waits, and ends it with whatever it has started;
`answer` is all that such a module does when it is run, and `keep_answering` of one that a `Teller` asks. Imports
neither pydantic nor torch: the child starts in a few hundredths of a second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

MOST_BYTES = 2**20

_NEEDED = (
    *("PATH", "HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "PROGRAMFILES", "USERPROFILE", "APPDATA", "TEMP", "TMP"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),
    *("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION"),
    *("ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR"),
)
"""What a child gets of the environment: enough to find Python, the drivers and the devices, and no secrets."""


@dataclass(frozen=True)
class Answer:
    """What a child said, or why it said nothing."""

    text: str
    """The last line of its output; empty where there is a problem."""
    problem: str = ""
    """What went wrong, to be put behind a subject: "did not answer within 5 s"."""


def ask_child(module: str, timeout_s: float, pythonpath: Sequence[Path] = (), arguments: Sequence[str] = ()) -> Answer:
    """Run `module` in a process of its own and return its last line of output, or what went wrong.

    The process and what it has started are ended on every way out. A process that hangs inside the kernel cannot
    be ended; it is left behind, and this returns all the same.

    pythonpath: folders where the child looks for modules before it looks anywhere else; arguments: what follows the
    time limit on its command line.
    """
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                module,
                str(timeout_s),
                *arguments,
            ],  # -P: no module out of the working directory
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(pythonpath),
            bufsize=0,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Answer("", f"could not be asked in a process of its own ({error})")
    try:
        return _listen(process, timeout_s)
    finally:
        end(process)


def answer(collect: Callable[[], dict[str, Any]]) -> NoReturn:
    """Write what `collect` returns to the output as one line of JSON, and leave: the child's whole life.

    Whatever else is written to the output meanwhile, by a driver for instance, goes to the error output.
    The first argument on the command line is the time limit in seconds; a child whose parent was killed ends
    itself a second after it.
    """
    channel = _channel()
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, float([*sys.argv, "60"][1]) + 1)
    with os.fdopen(channel, "w", encoding="ascii") as output:
        output.write(json.dumps(collect()) + "\n")
    os._exit(0)  # all is said, and unloading a driver is one more chance to hang


def keep_answering(tell: Callable[[Callable[[Any], None]], None]) -> NoReturn:
    """Let `tell` answer as long as it likes, with what it is given to say something as a line of JSON, and leave.

    Where it fails, there is no driver, or it has died: whoever asks sees that nobody answers.
    """
    channel = _channel()
    try:
        tell(partial(_say, channel))
    except Exception as error:  # noqa: BLE001 - whatever it is, a driver that is unloaded may hang
        sys.stderr.write(f"{error}\n")
        os._exit(1)
    os._exit(0)


def _say(channel: int, content: Any) -> None:
    os.write(channel, json.dumps(content).encode() + b"\n")


def _channel() -> int:
    """Return the output; what else is written there, by a driver for instance, goes to the error output from now on."""
    channel = os.dup(1)
    os.dup2(2, 1)
    return channel


def _listen(process: subprocess.Popen[bytes], timeout_s: float) -> Answer:
    deadline = time.monotonic() + timeout_s
    reader = _Reader(process.stdout)
    reader.start()
    reader.join(timeout_s)
    if len(reader.said) > MOST_BYTES:
        return Answer("", f"answered with more than {MOST_BYTES} bytes")
    try:
        status = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return Answer("", f"did not answer within {timeout_s:g} s")
    if reader.is_alive():  # it has ended, but something that it started keeps its output open
        return Answer("", f"did not answer within {timeout_s:g} s")
    return _judged(status, reader.said)


def _judged(status: int, said: bytes) -> Answer:
    lines = said.decode(errors="replace").split("\n")
    if status < 0:
        return Answer("", f"crashed ({_signal_name(-status)})")
    if status > 0:
        return Answer("", f"failed (exit status {status})")
    return Answer(next((line for line in reversed(lines) if line.strip()), ""))


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


class _Reader(threading.Thread):
    """Collects what comes out of a pipe, up to a little more than the limit, and closes it."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self.said = b""

    def run(self) -> None:
        if self._pipe is None:
            return
        with self._pipe as pipe:
            while len(self.said) <= MOST_BYTES and (part := pipe.read(2**16)):
                self.said += part


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its group, and reap it: the group outlives it as long as one of its children lives."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # hangs inside the kernel; `subprocess` reaps it when it can
        process.wait(1)


def environment(pythonpath: Sequence[Path]) -> dict[str, str]:
    """Return what a child gets of the environment, with these folders before all others where it looks for modules."""
    kept = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    folders = [*map(str, pythonpath), *filter(None, [kept.get("PYTHONPATH")]), *_home()]
    return {**kept, "PYTHONPATH": os.pathsep.join(folders)} if folders else kept


def _home() -> list[str]:
    """Return the folder that holds this package, if only this process's own `sys.path` leads there.

    An installed package is found anyway, and its folder must not come before the standard library.
    """
    home = str(Path(__file__).parents[2])
    on_path = home in map(os.path.abspath, sys.path)
    return [home] if on_path and not home.endswith("-packages") else []
