"""How long the daemon's pages take with 10 000 trials in the store: `python benchmarks/pages.py [--one-run]`.

The trials are made up, and kept in a folder of their own. The first answer to a question reads the store, later ones
may not have to; both are printed, as medians. Each daemon has shown a small tuning before, so that its templates are
compiled, which happens once. Times are of the processor, daemon and client together: on a machine that does nothing
else, that is the time that passes. With `--one-run`, all trials are of one run, which no search of days comes near.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from starlette.testclient import TestClient

LIMIT_MS = 100.0
TRIALS = 10_000
RUNS = 50
ASKED = 15
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


def daemon(small: Path, large: Path, pages: dict[str, str]) -> TestClient:
    """Return a daemon that has shown these pages of a small store, and knows nothing of the large one."""
    from autotune.planner.daemon.app import create_app
    from autotune.tests.daemon.family import MACHINE

    app = create_app(probe=lambda: MACHINE, free_memory=lambda _: {"cpu": 2**34, "cuda:0": 2**34})
    asked = TestClient(app, base_url="http://127.0.0.1:8377")
    os.environ["AUTOTUNE_HOME"] = str(small)
    for page in pages.values():
        took_ms(asked, page)
    os.environ["AUTOTUNE_HOME"] = str(large)
    return asked


def took_ms(asked: TestClient, page: str) -> float:
    """Return how long a page takes."""
    started = time.process_time()
    answer = asked.get(page, headers=BROWSER)
    took = (time.process_time() - started) * 1000
    if answer.status_code != 200:
        sys.exit(f"{page}: {answer.status_code}")
    return took


def main() -> None:
    """Fill a store, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--one-run", action="store_true", help="all trials in one run")
    one = parser.parse_args().one_run
    runs = 1 if one else RUNS
    with tempfile.TemporaryDirectory() as home:
        small, large = Path(home, "small"), Path(home, "large")
        os.environ["AUTOTUNE_HOME"] = str(small)
        known = fill(1, 10)
        os.environ["AUTOTUNE_HOME"] = str(large)
        pages = fill(runs, TRIALS)
        print(f"{TRIALS} trials in {runs} run{'s' * (runs > 1)}\n\n| page | first, ms | later, ms |\n|---|---:|---:|")
        slowest = 0.0
        for name, page in pages.items():
            first = statistics.median(took_ms(daemon(small, large, known), page) for _ in range(3))
            asked = daemon(small, large, known)
            took_ms(asked, page)
            later = statistics.median(took_ms(asked, page) for _ in range(ASKED))
            slowest = max(slowest, later, 0.0 if one else first)
            print(f"| {name} | {first:.0f} | {later:.0f} |")
        print(f"\n{'over' if slowest > LIMIT_MS else 'within'} {LIMIT_MS:.0f} ms")
        sys.exit(slowest > LIMIT_MS)


if __name__ == "__main__":
    main()
