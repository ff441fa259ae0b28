"""A sitting of a sweep whose trials sleep: `python -m autotune.tests.lab.driver LAB.TOML ADDRESS`."""

from __future__ import annotations

import sys
from pathlib import Path

from autotune.planner.lab.engine import RayEngine
from autotune.planner.lab.places import journal_of, store_file
from autotune.planner.lab.sweep import Sweep
from autotune.planner.lab.wanted import read_lab
from autotune.store.store import Store


def main(file: Path, address: str) -> int:
    journal, again = journal_of(read_lab(file), fresh=False)
    with RayEngine(address) as engine, Store.open(store_file()) as store:
        sweep = Sweep(journal, store, engine, lambda said: print(said, flush=True), "autotune.tests.lab.scripted")
        return 0 if sweep.run(again=again) else 3


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
