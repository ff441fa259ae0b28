"""What a trial may take of an accelerator's own memory, and what it took. The device is scripted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from autotune.probes.accelerators import Accelerator
from autotune.search.recipe import UNMODIFIED
from autotune.search.task import CONTEXT_BYTES
from autotune.search.trial.memory import PeakMemory, limit

if TYPE_CHECKING:
    from pathlib import Path

    from autotune.search.task import Task

GIB = 2**30


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What torch was told that it may take of a GPU of 80 GiB."""
    taken: list[float] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (60 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", taken.append)
    return taken


def test_torch_takes_no_more_of_a_gpu_than_it_may(shares: list[float]) -> None:
    limit("cuda", 20 * GIB)
    limit("cuda", 90 * GIB)
    limit("cuda", 0)
    assert shares == [0.25, 1.0, 0.0]


def test_where_nothing_is_limited_no_device_is_touched(shares: list[float]) -> None:
    limit("cuda", None)
    limit("cpu", 20 * GIB)
    limit("mps", 20 * GIB)
    assert shares == []


@pytest.mark.parametrize(
    ("told", "limited"),
    [
        ({"free_bytes": 8 * GIB}, 8 * GIB - CONTEXT_BYTES),
        ({"free_bytes": 2**20}, 0),
        ({"free_bytes": None}, None),
        ({"free_bytes": 8 * GIB, "unified_memory": True}, None),
    ],
)
def test_a_trial_leaves_alone_what_was_not_free(
    task: Task, tmp_path: Path, told: dict[str, Any], limited: int | None
) -> None:
    gpu = Accelerator(**{"kind": "cuda", "index": 0, "name": "GPU", "total_bytes": 24 * GIB, **told})
    machine = task.machine.model_copy(update={"accelerators": (gpu,)})
    assert replace(task, machine=machine, device="cuda").order(UNMODIFIED, tmp_path).device_limit_bytes == limited
    assert replace(task, machine=machine, device="cpu").order(UNMODIFIED, tmp_path).device_limit_bytes is None


def test_the_peak_of_a_gpu_is_what_torch_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[bool] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: begun.append(True))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 7 * GIB)
    memory = PeakMemory()
    memory.start("cuda")
    assert begun
    assert memory.peak_bytes() == 7 * GIB
