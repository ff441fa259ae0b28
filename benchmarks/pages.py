"""How long the daemon's pages take with 10 000 trials in the store: `python benchmarks/pages.py`.

They are those of 50 runs, and then of one; made up, and kept in a folder of their own. Times are of the processor,
daemon and client together: on a machine that does nothing else, that is the time that passes. Each daemon has shown a
small tuning before, so that its templates are compiled, which happens once.

`first` is a page that nobody has asked for yet, of a daemon that has read ahead, as it does when it starts and when its
first page is shown; `later` is the same page again. `unread` is a page of a store that this daemon has never looked at:
what ten thousand trials take that came since then, for whoever asks for them by their address.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.testclient import TestClient

LIMIT_MS = 100.0
TRIALS = 10_000
RUNS = (50, 1)
DAEMONS = 9
ASKED = 12
BROWSER = {"accept": "text/html"}


def fill(runs: int, trials: int) -> dict[str, str]:
    """Keep trials, and return the pages that show them."""
    from autotune.store.rows import plan_row, run_row, trial_row
    from autotune.store.store import Store
    from autotune.tests.daemon.family import MACHINE
    from autotune.tests.pages import tuned

    name = plan = ""
    with Store.open() as store:
        for _ in range(runs):
            begun = store.begin_run(tuned.SCOPE, MACHINE, fresh=True)
            made, plans = tuned.run(trials // runs, name=begun.id)
            name, plan = begun.id, plans[0].id
            with store._writing() as db:
                db.table("trials").insert_all(trial_row(name, trial) for trial in made.trials)
                db.table("plans").insert_all(plan_row(each, provisional=False) for each in plans)
                ended = begun.model_copy(update={"state": "finished", "reason": "the budget was used"})
                db.table("runs").upsert(run_row(ended), pk="id")
    return {
        "overview": "/",
        "front": "/models/shapes",
        "plan": f"/plans/{plan}",
        "trial": f"/trials/{name}/1/shapes",
        "history": "/history/shapes",
    }


@contextmanager
def daemon(small: Path, large: Path, pages: dict[str, str], *, ahead: bool) -> Iterator[TestClient]:
    """Yield a daemon that has shown these pages of a small store; of the large one it knows what it reads by itself."""
    from autotune.planner.daemon.app import create_app
    from autotune.tests.daemon.family import MACHINE

    app = create_app(probe=lambda: MACHINE, free_memory=lambda _: {"cpu": 2**34, "cuda:0": 2**34})
    os.environ["AUTOTUNE_HOME"] = str(small)
    with TestClient(app, base_url="http://127.0.0.1:8377") as asked:
        for page in pages.values():
            took_ms(asked, page)
        os.environ["AUTOTUNE_HOME"] = str(large)
        if ahead:
            took_ms(asked, "/")
        yield asked


def took_ms(asked: TestClient, page: str) -> float:
    """Return how long a page takes."""
    started = time.process_time()
    answer = asked.get(page, headers=BROWSER)
    took = (time.process_time() - started) * 1000
    if answer.status_code != 200:
        sys.exit(f"{page}: {answer.status_code}")
    return took


def figures(small: Path, large: Path, known: dict[str, str], page: str) -> tuple[float, list[float], list[float]]:
    """Return the time of a page that was not read, that of first pages, and that of later ones."""
    with daemon(small, large, known, ahead=False) as asked:
        unread = took_ms(asked, page)
    first, later = [], []
    for _ in range(DAEMONS):
        with daemon(small, large, known, ahead=True) as asked:
            first.append(took_ms(asked, page))
            later += [took_ms(asked, page) for _ in range(ASKED)]
    return unread, first, later


def said(times: list[float]) -> str:
    """Return the median and the 99th percentile."""
    return f"{statistics.median(times):.0f} / {statistics.quantiles(times, n=100, method='inclusive')[98]:.0f}"


def main() -> None:
    """Fill stores, ask, and print."""
    slowest = 0.0
    for runs in RUNS:
        with tempfile.TemporaryDirectory() as home:
            small, large = Path(home, "small"), Path(home, "large")
            os.environ["AUTOTUNE_HOME"] = str(small)
            known = fill(1, 10)
            os.environ["AUTOTUNE_HOME"] = str(large)
            pages = fill(runs, TRIALS)
            print(f"\n{TRIALS} trials in {runs} run{'s' * (runs > 1)}; milliseconds, p50 / p99\n")
            print("| page | unread | first | later |\n|---|---:|---:|---:|")
            for name, page in pages.items():
                unread, first, later = figures(small, large, known, page)
                slowest = max(slowest, statistics.median(first), statistics.median(later))
                print(f"| {name} | {unread:.0f} | {said(first)} | {said(later)} |", flush=True)
    print(f"\n{'over' if slowest > LIMIT_MS else 'within'} {LIMIT_MS:.0f} ms")
    sys.exit(slowest > LIMIT_MS)


if __name__ == "__main__":
    main()
