"""Sweeps on a real Ray cluster of one host: trials that sleep, and a real one."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotune.errors import UnfitError
from autotune.planner.lab.engine import RayEngine
from autotune.planner.lab.journal import journals
from autotune.planner.lab.places import store_file, sweeps_folder
from autotune.planner.lab.result import told
from autotune.planner.pages.render import render
from autotune.search.recipe import UNMODIFIED
from autotune.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra `lab`")]

LINK = Path(__file__).parents[2] / ".dev"
LIMIT_S = 240
REAL = """
name = "rehearsal"
budget = "1trials"
[[model]]
name = "shapes"
weights = "random"
[[workload]]
size = "64x64"
steps = 1
[[machine]]
name = "two"
"""
SHARED = """
name = "shared"
budget = "16trials"
[[model]]
name = "shapes"
[[machine]]
label = { room = "b" }
"""


class Cluster:
    """Three nodes of two makes, in a process of their own; `address` is what a driver connects to."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.folder = folder
        self._process = process
        self.address = self._answer("address")

    def remove(self, name: str) -> None:
        print("remove", name, file=self._process.stdin, flush=True)
        assert self._answer("removed") == name

    def tried(self, name: str) -> list[tuple[str, str]]:
        """Return the run and the recipe of each trial that a node has."""
        return measured(self.folder / name / "data" / "autotune.db")

    def _answer(self, name: str) -> str:
        """Return what is said under a name; Ray prints there too."""
        for line in self._process.stdout or ():
            if line.startswith("{"):
                return str(json.loads(line)[name])
        raise AssertionError(name)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start Ray once; what is taken from it is missing for the tests that come after."""
    folder = tmp_path_factory.mktemp("nodes")
    command = [sys.executable, "-m", "autotune.tests.lab.cluster", str(folder), "one=A", "two=A*1.5", "three=B"]
    with pytest.MonkeyPatch.context() as around:
        for name, said in (
            ("PYTHONPATH", str(LINK)),
            ("RAY_AUTH_MODE", "token"),
            ("RAY_AUTH_TOKEN", secrets.token_hex(32)),
            ("RAY_USAGE_STATS_ENABLED", "0"),
            ("LAB_TRIAL_S", "0.5"),
        ):
            around.setenv(name, said)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            yield Cluster(process, folder)
            process.communicate(timeout=60)


def driver(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def killed_after(said: set[str], *words: str) -> None:
    """Have a sitting of a sweep that is killed as it has said all of these."""
    with driver(*words) as process:
        for line in process.stdout or ():
            said = {each for each in said if each not in line}
            if not said:
                break
        os.kill(process.pid, signal.SIGKILL)
    assert not said


def sit(*words: str) -> tuple[int, str]:
    """Have a sitting of a sweep, and return its exit code and its words."""
    with driver(*words) as process:
        said, _ = process.communicate(timeout=LIMIT_S)
    return process.returncode, said


def measured(file: Path) -> list[tuple[str, str]]:
    """Return the run and the recipe of each trial in a store."""
    with Store.read(file) as store:
        return sorted((run.id, trial.recipe.key) for run in store.runs() for trial in run.trials)


def report() -> str:
    with Store.read(store_file()) as store:
        return render("sweep.md", told=told(next(journals(sweeps_folder())), store))


def test_a_shared_study_goes_on_after_driver_and_machine_were_lost(tmp_path: Path, cluster: Cluster) -> None:
    lab = tmp_path / "lab.toml"
    lab.write_text(SHARED)
    words = ("-m", "autotune.tests.lab.driver", str(lab), cluster.address)
    killed_after({f"{name}: shapes, its own calls, latency: trial" for name in ("one", "two", "three")}, *words)
    cluster.remove("three")
    code, said = sit(*words)
    assert code == 3, f"what only three can do is left: {said}"
    kept = measured(store_file())
    there = [*cluster.tried("one"), *cluster.tried("two"), *cluster.tried("three")]
    assert {*kept} <= {*there}, said
    assert {*there} - {*kept} <= {*cluster.tried("three")}, "it took them with it"
    with Store.read(store_file()) as store:
        paces = Counter(trial.drift for run in store.runs() for trial in run.trials if len(run.trials) == 16)
    assert sorted(paces) == [1.0, 1.5], said
    assert paces.total() == 16
    assert "(there all takes 1.50 times as long)" in report()


def test_where_nobody_listens_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            with pytest.raises(UnfitError, match=rf"{address} cannot be used \(ConnectionRefusedError"):
                RayEngine(address).__enter__()


def test_a_cluster_of_another_version_is_told_with_both(cluster: Cluster) -> None:
    entered = "import ray; ray.__version__ = '2.0.0'; "
    entered += f"from autotune.planner.lab.engine import RayEngine; RayEngine({cluster.address!r}).__enter__()"
    code, said = sit("-c", entered)
    assert code == 1
    last = said.splitlines()[-1]
    assert f"The Ray cluster at {cluster.address} cannot be used" in last
    assert version("ray") in last, "that of the cluster"
    assert "with Ray 2.0.0 and Python" in last, "that of who asks"


def test_a_real_trial(tmp_path: Path, cluster: Cluster) -> None:
    lab = tmp_path / "lab.toml"
    lab.write_text(REAL)
    code, said = sit(
        "-c", "from autotune.planner.cli import main; main()", "sweep", str(lab), "--address", cluster.address
    )
    assert code == 0, said
    [(_, recipe)] = measured(store_file())
    assert recipe == UNMODIFIED.key
    assert "1 of 1 jobs have finished" in report()
