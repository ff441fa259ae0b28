"""What runs in processes of its own, because a test kills or starves it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from itertools import count
from pathlib import Path

from autotune.errors import StoreError
from autotune.store.store import Store

from .samples import MACHINE, SCOPE, plan, trial

FAMILY = 3


def say(*words: object) -> None:
    """Print a line with one write: `print` may need several, and be killed between two of them."""
    os.write(sys.stdout.fileno(), f"{' '.join(map(str, words))}\n".encode())


def fork_on_demand(path: Path) -> None:
    """For each line on stdin, fork a process that keeps trials until it is killed: that saves the imports."""
    import autotune.store.migrations  # noqa: F401  the store imports it when it is first opened

    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            keep_for_ever(path)
        say("pid", pid)
        os.waitpid(pid, 0)
        say("gone")


def keep_for_ever(path: Path) -> None:
    """Keep trials and say so after each; after every fifth one, also end the run for the time being."""
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=False)
        for number in count(len(run.trials)):
            store.keep_trial(run.id, trial(number))
            say("kept", number)
            if number % 5 == 4:
                family = [plan(number + place, run.id) for place in range(FAMILY)]
                store.finish_run(run.id, str(number), family, finished=False)
                say("ended", number)


def fill(path: Path) -> None:
    """Keep trials until the file may not grow any more, then until it may grow again."""
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=False)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20_000, resource.RLIM_INFINITY))
        for number in count(len(run.trials)):
            try:
                store.keep_trial(run.id, trial(number))
            except StoreError as error:
                say("refused", number, error)
                break
            say("kept", number)
        assert [t.number for t in store.trials(run.id)] == list(range(number))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.keep_trial(run.id, trial(number))
        say("kept", number)


def keep_some(path: Path) -> None:
    """Keep 20 trials in a run of its own."""
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=True)
        for number in range(20):
            store.keep_trial(run.id, trial(number))
    say(run.id)


def die_in_a_commit(path: Path) -> None:
    """Leave the file half written: a part of a transaction is in it, and the journal to undo it lies beside it."""
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=False)
        assert store._connection is not None
        store._connection.execute("PRAGMA cache_size = 1")  # what does not fit is written before the commit
        with store._writing() as db:
            for number in range(200):
                db.table("trials").insert(
                    {"run_id": run.id, "recipe_key": f"r{number}", "document": "x" * 4000, "sha256": ""}
                )
            os._exit(0)


def look(path: Path) -> None:
    """Read and then try to write as a user without rights: root passes every permission."""
    import autotune.store.migrations  # noqa: F401  while this user may still read where it is installed

    if not os.geteuid():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    for way in (Store.read, Store.open):
        try:
            with way(path) as store:
                say("read", len(store.runs()), len(store.damage))
        except StoreError as error:
            say("refused", error)


def start(what: str, path: Path) -> subprocess.Popen[str]:
    """Start one of these as a process of its own; its lines come on stdout."""
    line = [sys.executable, "-m", "autotune.tests.store.child", what, str(path)]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


if __name__ == "__main__":
    program = {"fork": fork_on_demand, "fill": fill, "keep": keep_some, "die": die_in_a_commit, "look": look}
    program[sys.argv[1]](Path(sys.argv[2]))
