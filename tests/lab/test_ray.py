"""A sweep on a real Ray cluster of one host: three nodes that are taken for different machines, and real trials."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotune.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra `lab`")]

SWEEP = [sys.executable, "-c", "from autotune.planner.cli import main; main()", "sweep"]
LAB = """
name = "rehearsal"
budget = "2trials"
[[model]]
name = "shapes"
[[workload]]
size = "64x64"
steps = 2
[[machine]]
every_kind_once = true
price_per_hour = 1
"""
LIMIT_S = 240


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    command = [sys.executable, "-m", "autotune.tests.lab.cluster", str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process
        process.communicate(timeout=60)


def answer(cluster: subprocess.Popen[str], name: str) -> str:
    """Return what the cluster says under a name; Ray prints there too."""
    for line in cluster.stdout or ():
        if line.startswith("{"):
            return str(json.loads(line)[name])
    raise AssertionError(name)


def driver(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*SWEEP, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def sit(*words: str) -> tuple[int, str]:
    """Have a sitting of a sweep, and return its exit code and its words."""
    with driver(*words) as process:
        said, _ = process.communicate(timeout=LIMIT_S)
    return process.returncode, said


def measured(file: Path) -> list[tuple[str, str]]:
    """Return the run and the recipe of each trial in a store."""
    with Store.read(file) as store:
        return sorted((run.id, trial.recipe.key) for run in store.runs() for trial in run.trials)


def test_real_trials_go_on_after_driver_and_machine_were_lost(tmp_path: Path, cluster: subprocess.Popen[str]) -> None:
    address = ("--address", answer(cluster, "address"))
    lab, no_such = tmp_path / "lab.toml", tmp_path / "no_such.toml"
    lab.write_text(LAB)
    no_such.write_text(LAB.replace("every_kind_once = true", 'label = { room = "b" }'))
    code, said = sit(str(no_such), *address)
    assert code == 4
    assert "autotune/machine=one, autotune/machine=three, autotune/machine=two" in said

    with driver(str(lab), *address) as first:
        assert any("trial 0 ok" in line for line in first.stdout or ())
        os.kill(first.pid, signal.SIGKILL)
    print("remove three", file=cluster.stdin, flush=True)
    assert answer(cluster, "removed") == "three"

    code, said = sit(str(lab), *address)
    there = [trial for home in ("one", "two", "three") for trial in measured(tmp_path / home / "data" / "autotune.db")]
    kept = measured(tmp_path / "data" / "sweeps" / "lab.db")
    assert set(kept) <= set(there), said
    assert set(there) - set(kept) <= set(measured(tmp_path / "three" / "data" / "autotune.db")), "it took them with it"
    assert len({recipe for _, recipe in kept}) == 2, said
    report = sit("report")[1]
    assert "the sweep goes on" in report
    assert "| shapes, 64x64, 2 steps, latency | one" in report
