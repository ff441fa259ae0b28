"""A Ray cluster of one host, in a process of its own: `python -m autotune.tests.lab.cluster FOLDER`.

It prints its address; `remove NAME` on its input takes a node away as a power cut would, and the end of the input ends
all of it. Ray reads what it is told of tokens as it is imported, so that is in the environment before.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ray.cluster_utils import Cluster

from autotune.planner.lab.job import REHEARSED
from autotune.probes.machine import probe

NODE = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
NAMES = ("one", "two", "three")


def main(folder: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0}, shutdown_at_exit=True)
    here = probe()
    nodes = {}
    for name in NAMES:
        made_up = here.model_copy(update={"cpu": here.cpu.model_copy(update={"model_name": f"Made Up {name}"})})
        home = folder / name
        home.mkdir(exist_ok=True)
        (home / "machine.json").write_text(made_up.model_dump_json())
        around = {"AUTOTUNE_HOME": str(home), REHEARSED: str(home / "machine.json")}
        nodes[name] = cluster.add_node(num_cpus=2, labels={"autotune/machine": name}, env_vars=around, **NODE)
    print(json.dumps({"address": cluster.address}), flush=True)
    for line in sys.stdin:
        cluster.remove_node(nodes[line.split()[1]], allow_graceful=False)
        print(json.dumps({"removed": line.split()[1]}), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
