"""Trials that go wrong in every way that is known: imported by a template, in the place of a real pipeline.

What a trial does is said by the choice of `precision` in its recipe, one of `WAYS`; a call of an unmodified one takes
10 ms. Nothing here needs torch.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from autotune.search.trial.worker import Worker

SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
GOOD_LOAD = {"load_s": 0.1, "cold_s": 0.2, "peak_memory_bytes": 10**8, "load_peak_bytes": 10**8, "weights_bytes": 10**7}


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


def hang() -> NoReturn:
    while True:
        time.sleep(600)


def hang_and_ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang()


def fork_and_hang() -> None:
    """Leave a tree of children, three deep."""
    for _ in range(3):
        if not os.fork():
            if not os.fork():
                os.fork()
            hang()
    hang()


def leave_sessions_and_die() -> None:
    """Leave children in sessions of their own, which no signal to a group reaches."""
    for _ in range(3):
        subprocess.Popen(SLEEPER, start_new_session=True)
    if not os.fork():
        os.setsid()
        if not os.fork():
            hang()
        os._exit(0)
    os.abort()


def fork_with_much() -> None:
    """Share 100 MB with five children: that is not half a gigabyte."""
    taken = bytearray(os.urandom(1)) * (100 * 10**6)
    for _ in range(5):
        if not os.fork():
            sum(taken[::4096])
            hang()
    hang()


def leave_sessions_and_hang() -> None:
    subprocess.Popen(SLEEPER, start_new_session=True)
    hang()


def run_away() -> None:
    """Fork, and leave: the process that was found is gone before it can be killed."""
    while True:
        if os.fork():
            os._exit(0)


def flood_for_ever() -> None:
    while True:
        os.write(1, b"x" * 2**16)
        time.sleep(0.0005)  # about a hundred megabytes a second


def compile_for_ever() -> None:
    """Wait for a compiler that hangs."""
    subprocess.run([*SLEEPER], check=True)


def fill_memory() -> None:
    taken = []
    while True:
        taken.append(bytearray(os.urandom(1)) * 2**24)
        time.sleep(0.002)


def raise_(error: Exception) -> Callable[[], NoReturn]:
    def way() -> NoReturn:
        raise error

    return way


def send(text: bytes, then: Callable[[], Any] = hang) -> Callable[[], Any]:
    """Write to the parent past all that the worker does, as a library with a wild descriptor would."""

    def way() -> Any:
        for descriptor in range(3, 64):
            try:
                if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("socket:"):
                    os.write(descriptor, text)
            except OSError:
                continue
        then()

    return way


def die_of(number: signal.Signals) -> Callable[[], None]:
    def way() -> None:
        if number in {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT}:  # who runs in the background ignores them
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        time.sleep(60)

    return way


def close_all_and_hang() -> None:
    os.closerange(0, 64)
    hang()


WAYS: dict[str, Callable[[], Any]] = {
    "ignores SIGTERM": hang_and_ignore_sigterm,
    "stops": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "forks": fork_and_hang,
    "forks with much": fork_with_much,
    "setsid and hang": leave_sessions_and_hang,
    "setsid": leave_sessions_and_die,
    "runs away": run_away,
    "floods": flood_for_ever,
    "hangs in compile": compile_for_ever,
    "fills memory": fill_memory,
    "no memory on the host": raise_(MemoryError()),
    "no memory on the device": raise_(OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")),
    "no memory in C++": raise_(RuntimeError("std::bad_alloc")),
    "a sticky error": raise_(RuntimeError("CUDA error: an illegal memory access was encountered")),
    "exits 0": lambda: os._exit(0),
    "exits 3": lambda: os._exit(3),
    "half an answer, hangs": send(b'{"ok": {"load_s": 1'),
    "half an answer, dies": send(b'{"ok": {"load_s": 1', lambda: os._exit(0)),
    "closes its line": close_all_and_hang,
    "no JSON": send(b"\x00\xff\xfe hello\n"),
    "a list": send(b"[1, 2]\n"),
    "nested": send(b"[" * 200_000 + b"\n"),
    "no outcome": send(b'{"failure": 7}\n'),
    "an outcome that is none": send(b'{"failure": {"outcome": "splendid", "detail": "x"}}\n'),
    "detail that is no text": send(b'{"failure": {"outcome": "crashed", "detail": [1]}}\n'),
    "ok that is nothing": send(b'{"ok": null}\n'),
    "both": send(b'{"ok": {}, "failure": {"outcome": "ok", "detail": ""}}\n'),
    "huge": lambda: {**GOOD_LOAD, "words": "x" * 5_000_000},
    "unknown facts": lambda: {**GOOD_LOAD, "colour": "red"},
    "no facts": dict,
    "NaN": lambda: {**GOOD_LOAD, "load_s": float("nan")},
    "infinity": lambda: {**GOOD_LOAD, "cold_s": float("inf")},
    "a negative peak": lambda: {**GOOD_LOAD, "peak_memory_bytes": -5},
    "text for a number": lambda: {**GOOD_LOAD, "peak_memory_bytes": "lots"},
    "an int too large": lambda: {**GOOD_LOAD, "peak_memory_bytes": 10**400},
    **{f"dies of {number.name}": die_of(number) for number in signal.Signals},
}


def ran(count: int, **wrong: Any) -> dict[str, Any]:
    return {"latency_ms": [10.0] * count, "steps_ms": [1.0] * count, "peak_memory_bytes": 10**8} | wrong


RUNS: dict[str, Callable[[int], Any]] = {
    "NaN latency": lambda count: ran(count, latency_ms=[float("nan")] * count),
    "infinite latency": lambda count: ran(count, latency_ms=[float("inf")] * count),
    "no time at all": lambda count: ran(count, latency_ms=[0.0] * count),
    "negative time": lambda count: ran(count, latency_ms=[-1.0] * count),
    "NaN steps": lambda count: ran(count, steps_ms=[float("nan")] * count),
    "fewer samples": lambda count: ran(count, latency_ms=[]),
    "more samples": lambda count: ran(count + 1),
    "no peak": lambda count: {"latency_ms": [10.0] * count, "steps_ms": [1.0] * count},
    "words for samples": lambda count: ran(count, latency_ms=["10 ms"] * count),
    "given up after nothing": lambda _: {"at_least_ms": float("nan"), "done": 0, "steps": 0, "peak_memory_bytes": 1},
}


def do_load(self: Worker, order: dict[str, Any]) -> Any:
    """Go wrong, or be loaded."""
    self._way = order["recipe"]["turned"].get("precision", "")  # type: ignore[attr-defined]  # for `do_run`
    way = WAYS.get(self._way)  # type: ignore[attr-defined]
    return GOOD_LOAD if way is None else way()


def do_run(self: Worker, prompts: list[str], seeds: list[int], folder: str, limit_ms: float | None = None) -> Any:
    """Answer badly, or take 10 ms for each call."""
    del seeds, folder, limit_ms
    way = RUNS.get(self._way)  # type: ignore[attr-defined]
    return way(len(prompts)) if way else ran(len(prompts))


Worker.do_load = do_load  # type: ignore[method-assign]  # for the trials of this template alone
Worker.do_run = do_run  # type: ignore[method-assign]
