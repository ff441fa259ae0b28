"""What a value works out of its fields is worked out once, and never of the fields of another."""

from __future__ import annotations

import copy
import pickle
from functools import cached_property

import pytest

from autotune.probes.machine import probe
from autotune.search.recipe import Recipe
from autotune.value import Value


class Square(Value):
    """One that counts how often its area was worked out."""

    side: int

    @cached_property
    def area(self) -> int:
        """The area."""
        return self.side**2


def test_it_is_worked_out_once_and_said_nowhere() -> None:
    square = Square(side=3)
    assert (square.area, vars(square)["area"]) == (9, 9)
    assert square.model_dump_json() == '{"side":3}'
    assert square == Square(side=3)
    assert Square.model_validate(square.model_dump()) == square
    assert repr(square) == "Square(side=3)"


def test_a_copy_has_its_own() -> None:
    square = Square(side=3)
    assert square.area == 9
    assert square.model_copy(update={"side": 4}).area == 16
    assert square.model_copy(deep=True).area == 9
    assert copy.deepcopy(square).area == pickle.loads(pickle.dumps(square)).area == 9  # noqa: S301 - of this very test


@pytest.mark.parametrize("value", [Square(side=1), Recipe(turned={"precision": "bf16"})])
def test_it_stays_frozen(value: Value) -> None:
    with pytest.raises(ValueError, match="frozen"):
        value.side = 2  # type: ignore[attr-defined]


def test_a_machine_with_another_part_is_another() -> None:
    machine = probe()
    slower = machine.cpu.model_copy(update={"model_name": "another"})
    assert machine.fingerprint != machine.model_copy(update={"cpu": slower}).fingerprint
    older = machine.software.model_copy(update={"python": "3.0"})
    assert machine.software.key != machine.model_copy(update={"software": older}).software.key
