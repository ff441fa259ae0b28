"""Knobs that need a process of another start: trials of them really run in one, and all others do not."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotune.probes.allocators import ALLOCATORS
from autotune.probes.machine import probe
from autotune.search.assemble import environment
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.trial.process import trial_environment

from .conftest import MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autotune.search.task import Task

FOUND = probe().software
HUGE = """
import re, torch
torch.ones(2**26, dtype=torch.uint8)
kept = torch.ones(2**26, dtype=torch.uint8)
text = open("/proc/self/smaps").read()
print(sum(int(kib) for kib in re.findall(r"AnonHugePages: +([0-9]+)", text)))
"""


@pytest.fixture
def evaluator(task: Task) -> Iterator[IsolatedEvaluator]:
    with IsolatedEvaluator(task, MODULES) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("allocator", sorted(ALLOCATORS))
def test_an_allocator_is_in_the_process_of_its_trial_alone(evaluator: IsolatedEvaluator, allocator: str) -> None:
    if allocator not in FOUND.allocators:
        pytest.skip(f"{allocator} is not installed")
    for recipe in (UNMODIFIED, Recipe(turned={"allocator": allocator})):
        with evaluator.opened(recipe, time.monotonic() + 120, {}) as process:
            mapped = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")
            assert (f"lib{allocator}" in mapped) is (recipe != UNMODIFIED)
            calls = evaluator.run(process, recipe, range(1), math.inf, {})
            assert calls.samples_ms[0] > 0
    twin = Recipe(turned={"allocator": allocator, "precision": "bf16"})
    assert evaluator._template(twin) is evaluator._template(Recipe(turned={"allocator": allocator}))


@pytest.mark.slow
@pytest.mark.skipif(FOUND.huge_pages != "madvise", reason="only where the kernel gives them to who asks is it seen")
def test_torch_asks_for_huge_pages() -> None:
    def huge_kib(recipe: Recipe) -> int:
        started = trial_environment(environment(recipe, FOUND))
        return int(subprocess.run([sys.executable, "-c", HUGE], env=started, check=True, capture_output=True).stdout)

    assert huge_kib(UNMODIFIED) == 0
    assert huge_kib(Recipe(turned={"huge_pages": True})) > 2**15


def test_what_a_user_preloads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "mine.so")
    assert trial_environment({"LD_PRELOAD": "theirs.so"})["LD_PRELOAD"] == "theirs.so:mine.so"
    assert trial_environment()["LD_PRELOAD"] == "mine.so"


def test_a_library_that_was_not_found_is_asked_for_by_name() -> None:
    bare = FOUND.model_copy(update={"allocators": {}})
    both = Recipe(turned={"allocator": "jemalloc", "huge_pages": True})
    assert environment(both, bare) == {"LD_PRELOAD": "libjemalloc.so.2", "THP_MEM_ALLOC_ENABLE": "1"}
    assert environment(Recipe(turned={"precision": "bf16"}), bare) == {}


def test_threads_of_trials_sleep_while_they_wait_unless_the_user_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    assert trial_environment()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    assert "OMP_WAIT_POLICY" not in trial_environment()
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert trial_environment()["OMP_WAIT_POLICY"] == "ACTIVE"
