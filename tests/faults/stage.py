"""What runs under the shim: acts on a store, each in a fork of its own."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path

import autotune.store.migrations
import autotune.store.repair  # noqa: F401  both are imported late by the store, and should not be in each fork
from autotune.errors import StoreError
from autotune.store.outcome import Outcome
from autotune.store.repair import repair
from autotune.store.run import new_id
from autotune.store.store import Store
from autotune.tests.store.samples import MACHINE, SCOPE, plan, trial

FAMILY = 3
TRIALS = 4


SPEAKING = [1]
"""The descriptors to which `say` writes."""


def say(*words: object) -> None:
    """Print a line with one write."""
    for descriptor in SPEAKING:
        os.write(descriptor, f"{' '.join(map(str, words))}\n".encode())


def outcome(plan_id: str) -> Outcome:
    return Outcome(id=new_id(), plan_id=plan_id, outcome="ok", reported_at="2026-01-01T12:00:00+00:00")


def live(path: Path) -> None:
    """Do all that is ever done to a store, from wherever it is, saying each step that was acknowledged."""
    with Store.open(path) as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=False)
        say("begun", len(run.trials))
        if run.state == "finished":
            return
        for number in range(len(run.trials), TRIALS):
            store.keep_trial(run.id, trial(number))
            say("kept", number)
        store.finish_run(run.id, "interrupted", [plan(place, run.id) for place in range(FAMILY)], finished=False)
        say("ended", 0)
        family = [plan(place, run.id) for place in range(1, FAMILY + 1)]
        store.finish_run(run.id, "budget used up", family, finished=True)
        say("ended", 1)
        store.keep_outcome(outcome(family[0].id))
        say("told", 1)


def live_noted(path: Path) -> None:
    """Live, and say each step to a file too, so that it stands between the writes that the shim writes down."""
    SPEAKING.append(os.open(path.with_name("said"), os.O_CREAT | os.O_WRONLY, 0o600))
    live(path)


def live_on(path: Path) -> None:
    """Live, though the disk refuses at some moment: then what was refused is done again when it does no more."""
    for attempt in count():
        try:
            live(path)
        except StoreError as error:
            if attempt:
                raise
            say("refused", error)
            recover()
        else:
            return


def mend(path: Path) -> None:
    """Repair a store."""
    done = repair(path)
    say("mended", len(done.kept) if done else 0)


def mend_on(path: Path) -> None:
    """Repair it, and again when the disk refuses no more."""
    try:
        mend(path)
    except StoreError as error:
        say("refused", error)
        recover()
        mend(path)


def look(path: Path) -> None:
    """Bring a store of an older version up to date."""
    with Store.open(path) as store:
        say("seen", len(store.runs()))


def recover() -> None:
    """Let the disk be as it should be."""
    os.environ.pop("AUTOTUNE_FAIL_AT", None)


ACTS: dict[str, Callable[[Path], None]] = {
    "live": live,
    "live_noted": live_noted,
    "live_on": live_on,
    "mend": mend,
    "mend_on": mend_on,
    "look": look,
}


def main() -> None:
    """Play what is ordered, one line of JSON each."""
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            os.environ.update({f"AUTOTUNE_{name}": value for name, value in order["faults"].items()})
            try:
                ACTS[order["act"]](Path(order["path"]))
            except BaseException:  # noqa: BLE001 - said to the test, which reads the exit code
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        say("gone", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main()
