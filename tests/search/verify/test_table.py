"""The table in the docs: of this code and of the pinned versions, without a contradiction, and in part run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotune.planner.verify import read_rows, running
from autotune.search.assemble import choices_of
from autotune.search.compiled import is_compiled
from autotune.search.knobs import KNOBS
from autotune.search.rules import RULES, refusal
from autotune.search.verify.architectures import ARCHITECTURES, Architecture
from autotune.search.verify.check import checker, singles
from autotune.search.verify.findings import difference, differences, standing

if TYPE_CHECKING:
    from autotune.probes.machine import Machine

ROOT = Path(__file__).parents[3]
HEADER, ROWS = read_rows(ROOT / "docs" / "compatibility.jsonl")
PARTS = 6
AGAIN = "run `autotune verify -o docs/compatibility.jsonl`, and `cog -r docs/compatibility.md`"


def test_the_table_is_of_the_pinned_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    for name, version in HEADER.software.items():
        found = pinned.get(name.replace("_", "-"), version)
        assert version.partition("+")[0] == found, f"{name}: {AGAIN}"


def test_every_choice_of_every_knob_is_in_the_table() -> None:
    alone = {row.recipe for row in ROWS if len(row.recipe.turned) == 1}
    assert {recipe for recipe in singles() if not is_compiled(recipe)} <= alone, AGAIN
    choices = {(knob.name, choice) for knob in KNOBS for choice in knob.choices}
    assert all(choices.issuperset(row.recipe.turned.items()) for row in ROWS), AGAIN
    assert {row.architecture for row in ROWS} <= {each.name for each in ARCHITECTURES}


def test_the_table_is_of_the_rules_of_today() -> None:
    for row in ROWS:
        rule = refusal(choices_of(row.recipe))
        told = rule.name if rule else ""
        assert row.rule in {told, ""} if row.refused else row.rule == told == "", f"{row.recipe}: {AGAIN}"


def test_every_rule_that_two_choices_break_is_proved_or_said_not_to_be() -> None:
    found = {rule.name: standing(rule, ROWS)[0] for rule in RULES}
    assert "contradicted" not in found.values()
    assert sum(how == "confirmed" for how in found.values()) >= 3


def test_nothing_in_the_table_is_otherwise_than_the_knobs_and_rules_say() -> None:
    assert [(row.architecture, row.recipe.key, said) for row, said in differences(ROWS)] == []


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
def test_a_part_of_the_table_comes_out_again(architecture: Architecture, machine: Machine) -> None:
    """Of each architecture other recipes, a sixth of all choices: `autotune verify` runs them all, for hours."""
    if running(machine) != HEADER.software:
        pytest.skip("the table is of other versions than are installed here")
    first, step = ARCHITECTURES.index(architecture), PARTS * len(ARCHITECTURES)
    known = {row.recipe: row for row in ROWS if row.architecture == architecture.name}
    recipes = [each for each in singles() if each in known and not is_compiled(each)][first::step]
    with checker(architecture, machine) as check:
        for recipe in recipes:
            row = check.row(recipe)
            assert difference(row) == "", recipe
            if "allocator" not in recipe.turned:  # which libraries are here is the machine's own
                assert (row.outcome, bool(row.refused)) == (known[recipe].outcome, bool(known[recipe].refused)), recipe
