"""A tiny real model, and a template with a saboteur in it, made once for all tests of the search."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotune.planner.request import Request, task_of
from autotune.probes.machine import Machine, probe
from autotune.search import evaluate
from autotune.search.recipe import UNMODIFIED
from autotune.search.trial.process import Template

from .small import Small, write_small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from autotune.search.knobs import Bench
    from autotune.search.task import Task

TINY = Path(__file__).parents[1] / "tiny.py"
MODULES = ("torch", "diffusers:StableDiffusionPipeline", "transformers:CLIPTextModel", "autotune.tests.search.saboteur")


@pytest.fixture(scope="session")
def machine() -> Machine:
    """This machine."""
    return probe()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny pipeline with random weights."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    _write_tiny(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_nan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a VAE that gives NaN."""
    folder = tmp_path_factory.mktemp("models") / "tiny-nan"
    _write_tiny(folder, "nan")
    return folder


def _write_tiny(folder: Path, *how: str) -> None:
    command = [sys.executable, str(TINY), str(folder), *how]
    environment = {"PYTHONPATH": str(TINY.parents[1] / ".dev"), "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, machine: Machine) -> Callable[[str], Small]:
    """Gives the small pipeline of an architecture by name, written when it is first asked for."""
    folder = tmp_path_factory.mktemp("architectures")
    return cache(lambda name: write_small(name, folder, machine))


@pytest.fixture
def task(tiny: Path, machine: Machine, tmp_path: Path) -> Task:
    """Tuning the tiny pipeline, two steps a call, with quality unmeasured."""
    found, _ = task_of(Request(model=str(tiny), steps=2), machine)
    return replace(found, prompts=found.prompts[:8], artifacts=tmp_path / "artifacts")


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure every recipe to its end: none is too slow, whatever else this machine does meanwhile."""
    monkeypatch.setattr(evaluate, "is_hopeless", lambda *_, **__: False)
    monkeypatch.setattr(evaluate, "STOP", math.inf)


@pytest.fixture
def bench(task: Task) -> Bench:
    """Where pipelines of that task are put together, in the process of the test itself."""
    return task.order(UNMODIFIED, task.artifacts).bench()


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    """A template whose trials may take 300 MiB, and can be told to misbehave."""
    with Template(MODULES, memory_limit_bytes=300 * 2**20) as running:
        yield running
