"""Every kind of broken trial gets its class and a sentence, nothing of it is left, and the search goes on."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from autotune.planner.request import Request, task_of
from autotune.search import evaluate
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.measured import Trial
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.trial import process, tree
from autotune.search.trial.failure import TrialFailure

from ..daemon.family import MACHINE
from .broken import RUNS, WAYS
from .settings import MORE

MODULES = ("autotune.search.trial.worker", "autotune.tests.faults.broken")
GONE_S = 5
LIMIT_S = 1.5
PATIENCE_S = 20.0

TIMEOUTS = {
    *("setsid and hang", "forks with much"),
    *("ignores SIGTERM", "stops", "forks", "floods", "hangs in compile", "half an answer, hangs", "closes its line"),
    *(f"dies of {name}" for name in ("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU")),  # these stop a process
    *(f"dies of {name}" for name in ("SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH", "SIGPIPE", "SIGXFSZ")),  # ignored
}
NO_MEMORY = {"fills memory", "no memory on the host", "no memory on the device", "no memory in C++"}


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedEvaluator]:
    """An evaluator whose trials do what `broken` says, within a second and 200 MiB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "LOAD_LIMIT_S", LIMIT_S)
        patch.setattr(evaluate, "CALL_FLOOR_S", 1.0)
        task, _ = task_of(Request(model="shapes"), MACHINE)
        task = replace(task, scorer=None, artifacts=tmp_path_factory.mktemp("artifacts"))
        with IsolatedEvaluator(task, MODULES, memory_limit_bytes=200 * 2**20) as running:
            assert tried(running, "").outcome == "ok"
            yield running


def tried(evaluator: IsolatedEvaluator, way: str) -> Trial:
    recipe = Recipe(turned={"precision": way}) if way else UNMODIFIED
    return evaluator.evaluate(0, recipe, math.inf, time.monotonic() + 60)


def marked(mark: str) -> list[psutil.Process]:
    """Return what lives with a template's mark, wherever it is."""
    found = []
    for each in psutil.process_iter():
        try:
            variables = Path(f"/proc/{each.pid}/environ").read_bytes().split(b"\0")
            if f"{tree.MARK}={mark}".encode() in variables and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
        except (OSError, psutil.Error):
            continue
    return found


def left(evaluator: IsolatedEvaluator) -> list[psutil.Process]:
    """Return what lives of the trials."""
    return [each for each in marked(evaluator.template.mark) if each.pid != evaluator.template.pid]


def expected(way: str) -> str:
    return "timeout" if way in TIMEOUTS else "out_of_memory" if way in NO_MEMORY else "crashed"


LONG = [pytest.param(way, marks=pytest.mark.slow) for way in sorted(TIMEOUTS - {"ignores SIGTERM", "floods"})]


@pytest.mark.parametrize("way", [*sorted({*WAYS, *RUNS} - TIMEOUTS), "ignores SIGTERM", "floods", *LONG])
def test_it_has_its_class_and_the_next_trial_is_well(
    evaluator: IsolatedEvaluator, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way not in TIMEOUTS:  # a busy machine takes its time to see a process die
        monkeypatch.setattr(evaluate, "LOAD_LIMIT_S", PATIENCE_S)
        monkeypatch.setattr(evaluate, "CALL_FLOOR_S", PATIENCE_S)
    started = time.monotonic()
    trial = tried(evaluator, way)
    assert trial.outcome == expected(way), trial.detail
    assert trial.detail.strip()
    assert len(trial.detail) < 5000
    assert Trial.model_validate_json(trial.model_dump_json()) == trial
    assert (
        way not in TIMEOUTS or time.monotonic() - started < LIMIT_S + 10
    )  # its limit, and the time that ending it may take
    assert left(evaluator) == []
    assert tried(evaluator, "").outcome == "ok"


def test_what_a_trial_shouts_does_not_fill_the_disk(
    evaluator: IsolatedEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOG_LIMIT_BYTES", 2**20)
    folder = Path(evaluator.template._logs.name)
    with evaluator.template.fork() as trial:
        with pytest.raises(TrialFailure, match="did not answer within 1 s"):
            trial.ask({"do": "load", "order": {"recipe": {"turned": {"precision": "floods"}}}}, 1)
        held_bytes = sum(file.stat().st_size for file in folder.glob("*.log"))
    assert held_bytes < 100 * 2**20  # at a hundred megabytes a second, cut four times a second


def test_what_processes_share_is_counted_once(evaluator: IsolatedEvaluator) -> None:
    for way, outcome in (("forks with much", "timeout"), ("fills memory", "out_of_memory")):
        assert tried(evaluator, way).outcome == outcome


def test_a_trial_that_others_left_no_memory_is_tried_again(
    evaluator: IsolatedEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter(range(100))
    monkeypatch.setattr(process, "_oom_kills", lambda: next(kills))
    attempts = Mock(wraps=evaluator._attempted)
    monkeypatch.setattr(evaluator, "_attempted", attempts)
    trial = tried(evaluator, "dies of SIGKILL")
    assert trial.outcome == "out_of_memory"
    assert "so another program took the rest" in trial.detail
    assert attempts.call_count == 2


@pytest.mark.parametrize("way", ["hangs in compile", "setsid and hang", "forks"])
def test_the_template_dies_in_mid_trial(evaluator: IsolatedEvaluator, way: str) -> None:
    template = evaluator.template.pid
    timer = threading.Timer(0.4, os.kill, (template, signal.SIGKILL))
    timer.start()
    trial = tried(evaluator, way)
    assert evaluator.template.pid != template
    assert trial.outcome == "timeout"  # it was tried again, as it was not to blame
    assert left(evaluator) == []
    assert tried(evaluator, "").outcome == "ok"


STUBBORN = ("ignores SIGTERM", "forks", "setsid and hang", "hangs in compile", "stops")


@pytest.mark.parametrize("owners", [2, pytest.param(10 * MORE, marks=pytest.mark.slow)])
def test_trees_are_gone_when_their_owner_is_killed(owners: int) -> None:
    """The owner is the tuner, killed without a chance to clean up; five trials of it do not want to go."""
    with subprocess.Popen(
        [sys.executable, "-m", "autotune.tests.faults.owner"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as stage:
        assert stage.stdin is not None
        assert stage.stdout is not None
        for _ in range(owners):
            print(",".join(STUBBORN), file=stage.stdin, flush=True)
            pid, mark = stage.stdout.readline().split()
            while (
                len(marked(mark)) < 1 + 1 + 8 + 2 + 2 + 1
            ):  # the template, and what the trials are with their children
                time.sleep(0.02)
            os.kill(int(pid), signal.SIGKILL)
            killed = time.monotonic()
            while marked(mark):
                assert time.monotonic() < killed + GONE_S, marked(mark)
                time.sleep(0.02)
        stage.stdin.close()
