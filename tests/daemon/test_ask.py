"""What is free on each device, by the names that plans have for them."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.planner.daemon import ask
from autotune.planner.daemon.ask import free_by_device
from autotune.probes.accelerators import Accelerator
from autotune.probes.machine import Machine

from .family import GIB, MACHINE


def machine_with(*gpus: dict[str, Any]) -> Machine:
    usual = {"kind": "cuda", "index": 0, "name": "A GPU", "total_bytes": 80 * GIB, "free_bytes": 70 * GIB}
    return MACHINE.model_copy(update={"accelerators": tuple(Accelerator(**{**usual, **gpu}) for gpu in gpus)})


@pytest.fixture(autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 GiB of RAM are free, and NVIDIA's driver tells of the first GPU only."""
    monkeypatch.setattr(ask, "free_memory", lambda: 16 * GIB)
    monkeypatch.setattr(ask, "free_accelerator_memory", lambda timeout_s: {0: 40 * GIB} if timeout_s <= 1 else {})


@pytest.mark.parametrize(
    ("gpus", "free_bytes"),
    [
        ((), {}),
        (({},), {"cuda:0": 40 * GIB}),
        (({}, {"index": 1}), {"cuda:0": 40 * GIB, "cuda:1": 70 * GIB}),
        (({"index": 1, "free_bytes": None},), {"cuda:1": 0}),
        (({"kind": "rocm"},), {"cuda:0": 70 * GIB}),
        (({"kind": "xpu"},), {"xpu:0": 70 * GIB}),
        (({"kind": "mps", "unified_memory": True, "total_bytes": 12 * GIB},), {"mps:0": 12 * GIB}),
        (({"unified_memory": True},), {"cuda:0": 16 * GIB}),
    ],
)
def test_each_device_tells_what_it_can(gpus: tuple[dict[str, Any], ...], free_bytes: dict[str, int]) -> None:
    assert free_by_device(machine_with(*gpus)) == {"cpu": 16 * GIB, **free_bytes}
