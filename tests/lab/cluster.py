"""A Ray cluster of one host, in a process of its own: `python -m autotune.tests.lab.cluster FOLDER NAME=MAKE ...`.

Each node has a home of its own in the folder, and is taken for a machine of its make; `NAME=MAKE*1.3` is one on which
scripted trials take so many times as long. It prints its address; `remove NAME` on its input takes a node away as a
power cut would, and the end of the input ends all of it. Ray reads what it is told of tokens as it is imported, so
that is in the environment before.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.cluster_utils import Cluster

from autotune.planner.lab.job import REHEARSED
from autotune.probes.machine import probe

if TYPE_CHECKING:
    from autotune.probes.machine import Machine

QUICK = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 2}
"""A node that is gone is noticed after seconds, not after half a minute."""

NODE = {"object_store_memory": 100 * 2**20, "include_dashboard": False}


def node(here: Machine, home: Path, make: str, slow: str) -> dict[str, Any]:
    """Return what Ray is told of a node."""
    made_up = here.model_copy(update={"cpu": here.cpu.model_copy(update={"model_name": f"Made Up {make}"})})
    home.mkdir(exist_ok=True)
    (home / "machine.json").write_text(made_up.model_dump_json())
    around = {"AUTOTUNE_HOME": str(home), REHEARSED: str(home / "machine.json"), "LAB_SLOW": slow or "1"}
    return {"num_cpus": 2, "labels": {"autotune/machine": home.name, "room": "b"}, "env_vars": around, **NODE}


def main(folder: Path, *wanted: str) -> None:
    cluster = Cluster(
        initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "_system_config": QUICK}, shutdown_at_exit=True
    )
    here = probe()
    nodes = {}
    for each in wanted:
        name, _, made = each.partition("=")
        make, _, slow = made.partition("*")
        nodes[name] = cluster.add_node(**node(here, folder / name, make, slow))
    print(json.dumps({"address": cluster.address}), flush=True)
    for line in sys.stdin:
        cluster.remove_node(nodes[line.split()[1]], allow_graceful=False)
        print(json.dumps({"removed": line.split()[1]}), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
