"""Recipes run for real on a small pipeline: what works, what fails, what does nothing, each in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autotune.search.knobs import fuse_qkv, memory_format
from autotune.search.recipe import Recipe
from autotune.search.verify.architectures import ARCHITECTURES
from autotune.search.verify.check import checker, pairs, singles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autotune.probes.machine import Machine
    from autotune.search.verify.check import Checker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def check(machine: Machine) -> Iterator[Checker]:
    with checker(ARCHITECTURES[0], machine) as running:
        yield running


def test_a_knob_that_acts_is_seen_to(check: Checker) -> None:
    for recipe in (Recipe(turned={"memory_format": "channels_last"}), Recipe(turned={"precision": "bf16"})):
        row = check.row(recipe)
        assert (row.outcome, row.refused) == ("works", "")
    assert row.apart is not None
    assert 0 < row.apart < 0.02


def test_a_knob_that_silently_does_nothing_is_found(check: Checker) -> None:
    row = check.row(Recipe(turned={"allocator": "jemalloc"}))
    present = "jemalloc" in check.evaluator.task.machine.software.allocators
    assert row.outcome == ("works" if present else "does nothing")
    both = check.row(Recipe(turned={"compile": "openvino", "memory_format": "channels_last"}))
    assert (both.outcome, both.detail, both.rule) == ("does nothing", "memory_format", "openvino_lays_out_memory")


def test_what_fails_says_why_and_hurts_nobody(check: Checker) -> None:
    row = check.row(Recipe(turned={"offload": "sequential"}))
    assert row.outcome == "fails"
    assert row.detail
    assert row.apart is None
    assert check.row(Recipe(turned={"fuse_qkv": True})).outcome == "works"


def test_every_two_choices_are_of_two_knobs(check: Checker) -> None:
    found = pairs(check.space)
    assert len(found) == len(set(found)) > 100
    assert all(len(recipe.turned) == 2 for recipe in found)
    assert {fuse_qkv.FUSE_QKV.name, memory_format.MEMORY_FORMAT.name} <= {
        name for each in found for name in each.turned
    }
    assert len(singles()) == len(set(singles())) > 30
