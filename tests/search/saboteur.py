"""What goes wrong in trials, done for real: imported by a template, it gives its trials ways to misbehave.

As commands (`{"do": "misbehave", "how": ...}`), and through recipes: a token merging ratio or a quantization
of `BY_RECIPE` makes the trial of that recipe fail in its own way while it loads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from autotune.search import assemble
from autotune.search.trial.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from autotune.search.knobs import Bench
    from autotune.search.recipe import Recipe


def fill_memory() -> None:
    """Take memory, and touch it, until somebody stops this."""
    taken = []
    while True:
        taken.append(bytearray(os.urandom(1)) * 2**25)
        time.sleep(0.01)


def hang() -> None:
    """Sleep through SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(10_000)


def deadlock() -> None:
    """Wait for a thread that waits for this one."""
    mine, theirs = threading.Lock(), threading.Lock()
    mine.acquire()
    threading.Thread(target=lambda: (theirs.acquire(), mine.acquire()), daemon=True).start()
    while not theirs.locked():
        time.sleep(0.01)
    theirs.acquire()


def let_a_child_work() -> None:
    """Wait for a child that works for three seconds."""
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 3: pass"], check=True)


def leave_children() -> None:
    """Start a child, and one in a session of its own, and go."""
    program = [sys.executable, "-c", "import time; time.sleep(10_000)"]
    subprocess.Popen(program)
    subprocess.Popen(program, start_new_session=True)


def flood() -> None:
    """Print 50 MB that nobody asked for."""
    for _ in range(500):
        os.write(1, b"x" * 100_000)


BY_COMMAND: dict[str, Callable[[], Any]] = {
    "hang": hang,
    "deadlock": deadlock,
    "let_a_child_work": let_a_child_work,
    "sleep": lambda: time.sleep(10_000),
    "fill_memory": fill_memory,
    "leave_children": leave_children,
    "flood": flood,
    "leave": lambda: os._exit(7),
    "talk": lambda: {"words": "x" * 5_000_000},
    "unfit": lambda: assemble.choices_of(None),  # type: ignore[arg-type]  # what a bug in a knob looks like
    "nan": lambda: {"latency": float("nan")},
}

BY_RECIPE: dict[Any, str] = {0.25: "kill", 0.5: "hang", "bnb_int8": "fill_memory", "bnb_nf4": "nan_weights"}

_assemble = assemble.assemble


def assemble_badly(recipe: Recipe, bench: Bench) -> Any:
    """Assemble, unless the recipe is one of those that go wrong."""
    how = next((BY_RECIPE[choice] for choice in recipe.turned.values() if choice in BY_RECIPE), "")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how in BY_COMMAND:
        BY_COMMAND[how]()
    pipe = _assemble(recipe, bench)
    if how == "nan_weights":
        pipe.vae.decoder.conv_out.bias.data.fill_(float("nan"))
    return pipe


def do_misbehave(self: Worker, how: str) -> Any:
    """Go wrong in the named way."""
    del self
    return BY_COMMAND[how]() or {}


assemble.assemble = assemble_badly
Worker.do_misbehave = do_misbehave  # type: ignore[attr-defined]  # for the trials of this template alone
