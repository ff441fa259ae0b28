"""What a user wants to be small, and what of it cannot be meant or measured."""

from __future__ import annotations

import pytest

from autotune.errors import UnfitError, UsageError
from autotune.planner import objectives
from autotune.planner.objectives import objective_of
from autotune.planner.request import Request, task_of
from autotune.probes.machine import probe
from autotune.search.objective import LATENCY, Objective


def test_images_come_in_calls() -> None:
    assert objective_of("latency", None, 1, "cpu") == LATENCY
    assert objective_of("total", 20, 1, "cpu") == Objective(kind="total", calls=20)
    assert objective_of("total", 21, 4, "cpu") == Objective(kind="total", calls=6, batch=4)


@pytest.mark.parametrize(("kind", "images"), [("speed", None), ("total", None), ("latency", 3)])
def test_what_cannot_be_meant_is_refused(kind: str, images: int | None) -> None:
    with pytest.raises(UsageError):
        objective_of(kind, images, 1, "cpu")


def test_energy_that_cannot_be_read_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "energy_j", lambda _device: None)
    with pytest.raises(UnfitError, match=r"cannot be measured here: the CPU's counter .* Take another --objective"):
        objective_of("energy", None, 1, "cpu")
    monkeypatch.setattr(objectives, "energy_j", lambda _device: (1.0,))
    assert objective_of("energy", None, 1, "cpu").kind == "energy"


def test_it_is_part_of_the_scope() -> None:
    machine = probe()
    plain, _ = task_of(Request(model="shapes"), machine)
    total, _ = task_of(Request(model="shapes", objective="total", images=20), machine)
    assert plain.scope.objective == ""
    assert total.scope.objective == "total of 20 calls"
    assert total.scope.key != plain.scope.key
