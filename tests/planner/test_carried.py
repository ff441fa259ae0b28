"""What made-up weights have shown is tried first with real ones, and by nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.planner.carried import carried_over
from autotune.search.recipe import Recipe
from autotune.search.task import Task
from autotune.store.store import Store

from ..cli.results import CARD, task_of
from ..daemon.family import MACHINE, keep, plan_of

MADE_UP: dict[str, Any] = {"weights": "random", "architecture": "shape", "model": "configurations", "revision": "9"}


def task(**card: Any) -> Task:
    return task_of(card=CARD.model_copy(update={"architecture": "shape", **card}), machine=MACHINE)


def carried(of: Task) -> list[Recipe]:
    with Store.read() as store:
        return list(carried_over(store, of))


def test_recipes_come_newest_run_first_and_each_once() -> None:
    keep([plan_of("fp16", **MADE_UP), plan_of("bf16", **MADE_UP)])
    keep([plan_of("bf16", **MADE_UP)])
    assert [recipe.turned["precision"] for recipe in carried(task())] == ["bf16", "fp16"]


@pytest.mark.parametrize(
    "other",
    [
        {"weights": "", "architecture": ""},
        {"architecture": "another"},
        {"device": "cuda"},
    ],
)
def test_nothing_comes_from_other_shapes_devices_or_from_files(other: dict[str, Any]) -> None:
    keep([plan_of(**{**MADE_UP, **other})])
    assert carried(task()) == []


def test_made_up_weights_take_nothing_over() -> None:
    keep([plan_of(**MADE_UP)])
    assert carried(task(weights="random")) == []
    assert len(carried(task())) == 1


def test_the_shapes_of_a_scope_are_those_of_the_task() -> None:
    scope = task(weights="random").scope
    assert (scope.weights, scope.architecture) == ("random", "shape")
    assert task().scope.architecture == ""
