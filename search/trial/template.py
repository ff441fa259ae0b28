"""The template: a process that has imported torch and diffusers, and forks a fresh trial from itself on request.

`python -m autotune.search.trial.template FD MODULE[:NAME]...` speaks over the socket FD; a NAME is what a module
that imports lazily is asked for. A request is one JSON line:
`{"fork": true}`, with two descriptors (the trial's socket and its log), is answered by `{"pid": ...}`;
`{"end": pid, "grace_s": ...}` by `{"status": ...}` once the trial and everything that it started are gone.
A fork takes 0.05 s where a new interpreter takes 6 to 9 s. The template itself touches no device and
runs no parallel operation, so that its children can. Where a library has touched one after all, a trial becomes
`python -m autotune.search.trial.template again FD MODULE[:NAME]...`, which imports all of it by itself.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import psutil

from .untouched import untouched, was_touched

if TYPE_CHECKING:
    from collections.abc import Sequence

AGAIN = "again"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
NO_STATUS = -1
STRAYS_S = 5.0
"""So long is killed what a trial has left. What still makes new sessions then is left, for the other trials' sake."""


def main(arguments: list[str]) -> None:
    """Import what is named, say that all is ready, and serve until the other side goes away."""
    if arguments[0] == AGAIN:
        _serve_trial(int(arguments[1]), arguments[2:])
    modules = arguments[1:]
    control = socket.socket(fileno=int(arguments[0]))
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # while it imports, it does not see that the other side has gone
    with untouched():
        _import([*modules, f"{__package__}.worker"])  # else each trial would import that by itself
    _prctl(PR_SET_PDEATHSIG, 0)  # from here on it sees that, and ends its trials
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _say(control, {"ready": os.getpid()})
    trials: set[int] = set()
    while True:
        request, descriptors = _hear(control)
        if request is None:
            break
        if "fork" in request:
            trials.add(pid := _fork(control, modules, *descriptors))
            _say(control, {"pid": pid})
        else:
            trials.discard(request["end"])
            _say(control, {"status": _end(request["end"], request["grace_s"], trials)})
    for pid in trials:
        _end(pid, 0, set())


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        module, _, attribute = name.partition(":")
        imported = importlib.import_module(module)
        if attribute:
            getattr(imported, attribute)


def _hear(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return the next request and the descriptors that came with it; None when the other side has gone."""
    line, descriptors = b"", []
    while not line.endswith(b"\n"):
        part, more, _, _ = socket.recv_fds(control, 4096, 2)
        descriptors += more
        if not part:
            return None, []
        line += part
    return json.loads(line), descriptors


def _say(control: socket.socket, answer: dict[str, Any]) -> None:
    control.sendall(json.dumps(answer).encode() + b"\n")


def _fork(control: socket.socket, modules: list[str], line: int, log: int) -> int:
    """Return the process id of a new trial; in the child, never return."""
    template = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            control.close()
            _settle(log, template)
            if was_touched():
                _begin_anew(line, modules)
            _serve_trial(line)
        except BaseException:  # noqa: BLE001 - a fork must never run on into the template's loop
            traceback.print_exc()
        finally:
            os._exit(70)
    os.close(line)
    os.close(log)
    return pid


def _begin_anew(line: int, modules: list[str]) -> NoReturn:
    """Become a trial that shares nothing with the template but its place."""
    os.set_inheritable(line, True)  # noqa: FBT003 - the name says what it is
    command = [sys.executable, "-m", __spec__.name, AGAIN, str(line), *modules]
    os.execv(command[0], command)  # noqa: S606 - our own interpreter


def _serve_trial(line: int, modules: Sequence[str] = ()) -> NoReturn:
    """Be a trial. modules: what is still to be imported for that."""
    _import(modules)
    from .worker import serve

    serve(socket.socket(fileno=line))


def _settle(log: int, template: int) -> None:
    """Make the child a process of its own: session, output, limits, working folder, and it dies with the template."""
    os.setsid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != template:  # it died before it was asked to take us along
        os._exit(70)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.chdir(tempfile.mkdtemp(dir=Path.cwd()))  # below the template's own folder, and removed with it
    _dies_first()


def _dies_first() -> None:
    """When the machine runs out of memory, the kernel shall take the trial and not the user's work."""
    with suppress(OSError):  # another system, or not allowed: the memory limit of the trial still holds
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _end(pid: int, grace_s: float, others: set[int]) -> int:
    """Kill a trial and all that it started, and return its wait status: its own if it was gone before."""
    status = _reaped(pid, grace_s)
    for process in [*_below(pid), *_strays(pid, others)]:
        _kill(process)
    _kill_group(pid)
    if status == NO_STATUS:
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    deadline = time.monotonic() + STRAYS_S
    while (strays := _strays(pid, others)) and time.monotonic() < deadline:
        for process in strays:
            _kill(process)
        time.sleep(0.01)
    return status


def _reaped(pid: int, grace_s: float) -> int:
    deadline = time.monotonic() + grace_s
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if time.monotonic() >= deadline:
            return NO_STATUS
        time.sleep(0.01)


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _strays(pid: int, others: set[int]) -> list[psutil.Process]:
    """Return the orphans that came to us because we are their subreaper, with all below them; the dead are reaped."""
    found = []
    for child in psutil.Process().children():
        if child.pid in others or child.pid == pid:
            continue
        if child.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(child.pid, os.WNOHANG)
        else:
            found += [child, *child.children(recursive=True)]
    return found


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess, ProcessLookupError):  # it went by itself
        group = os.getpgid(process.pid)
        if group != os.getpgrp():
            _kill_group(group)
        process.kill()


def _kill_group(group: int) -> None:
    """Kill a group at one stroke: a process that forks and leaves at once cannot be caught alone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
