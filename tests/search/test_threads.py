"""Threads: offered where a choice is one, and really set, in torch and in OpenVINO."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from autotune.search.assemble import assemble
from autotune.search.knobs.threads import THREADS, count_of
from autotune.search.recipe import Recipe
from autotune.search.space import space_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autotune.search.knobs import Bench, Setting
    from autotune.search.task import Task

# torch and OpenVINO warn of each other's ways, which the processes of trials do not turn into errors
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def all_threads(task: Task) -> Iterator[int]:
    """Every allowed core in use, as a trial has it; what a test sets is for the whole process."""
    import torch

    before, count = torch.get_num_threads(), task.machine.cpu.allowed_cores
    torch.set_num_threads(count)
    yield count
    torch.set_num_threads(before)


def on(setting: Setting, allowed: int, physical: int | None) -> Setting:
    """Return the setting on a CPU of so many cores."""
    cpu = setting.machine.cpu.model_copy(update={"allowed_cores": allowed, "physical_cores": physical})
    return replace(setting, machine=setting.machine.model_copy(update={"cpu": cpu}))


@pytest.mark.parametrize(
    ("allowed", "physical", "offered"),
    [
        (16, 8, {"all": 16, "physical": 8}),
        (8, 8, {"all": 8, "half": 4}),
        (12, 8, {"all": 12, "physical": 8, "half": 6}),
        (4, 64, {"all": 4, "half": 2}),
        (8, None, {"all": 8, "half": 4}),
        (1, 1, {"all": 1}),
    ],
)
def test_a_number_of_threads_is_offered_once(
    task: Task, allowed: int, physical: int | None, offered: dict[str, int]
) -> None:
    setting = on(task.setting, allowed, physical)
    found = {choice: count_of(choice, setting.machine.cpu) for choice in space_for(setting).choices["threads"]}
    assert found == offered


def test_what_is_refused_says_what_it_equals(task: Task) -> None:
    refused = space_for(on(task.setting, 16, 8)).refused
    assert refused["threads", "half"] == "8 of 16 cores, which is what physical stands for here"
    assert "does not tell" in space_for(on(task.setting, 8, None)).refused["threads", "physical"]
    assert "the cuda computes" in (THREADS.refuses("half", replace(task.setting, device="cuda")) or "")


def test_torch_computes_with_them(all_threads: int, bench: Bench) -> None:
    import torch

    if all_threads < 2:
        pytest.skip("one core cannot be halved")
    assemble(Recipe(turned={"threads": "half"}), bench)
    assert torch.get_num_threads() == all_threads // 2


def test_openvino_computes_with_them(all_threads: int, bench: Bench) -> None:
    if all_threads < 2:
        pytest.skip("one core cannot be halved")
    pipe = assemble(Recipe(turned={"threads": "half", "compile": "openvino"}), bench)
    assert {graph.threads for graph in pipe.unet._about["graphs"]} == {all_threads // 2}
