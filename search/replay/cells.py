"""What the cells of a recorded table mean: choices, objectives, constraints and costs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ...errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..recipe import Choice

OPERATORS = ("<=", ">=", "==", "<", ">")
MISSED = 1.0  # how far a constraint on words is said to be missed, as a share


def choice_in(cell: str) -> Choice:
    """Return the choice that a cell stands for: True and False, whole and other numbers, or the words that it has."""
    if cell in {"True", "False"}:
        return cell == "True"
    if re.fullmatch(r"-?\d+", cell):
        return int(cell)
    number = number_in(cell)
    return cell if number is None else number


def number_in(cell: str) -> float | None:
    """Return the number in a cell; None for none, and for what JSON has not (NaN, infinity)."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Objective:
    """A column that is to be small, or one column for each of another: `latency/n_samples`."""

    columns: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the objective that a text names. Raises UsageError."""
        columns = tuple(part.strip() for part in text.split("/"))
        if not all(columns) or len(columns) > 2:
            msg = f"An objective is a column such as latency_s, or one for each of another, a/b; {text!r} was given."
            raise UsageError(msg)
        return cls(columns)

    def is_empty(self, line: Mapping[str, str]) -> bool:
        """Return whether a line says nothing about it."""
        return any(not line[column] for column in self.columns)

    def of(self, line: Mapping[str, str]) -> float | None:
        """Return its value in a line; None where that is no number above 0, so that nothing was measured."""
        numbers = [number_in(line[column]) for column in self.columns]
        if any(number is None or number <= 0 for number in numbers):
            return None
        first, *others = [number for number in numbers if number is not None]
        return first / math.prod(others)

    def said(self, line: Mapping[str, str]) -> str:
        """Return what a line says in the place of a number, such as `invalid:RuntimeFailedConfig`."""
        return " ".join(line[column] for column in self.columns if (number_in(line[column]) or 0) <= 0)

    def __str__(self) -> str:
        """Return the text that it was parsed from."""
        return "/".join(self.columns)


@dataclass(frozen=True)
class Cost:
    """Columns whose sum is what a trial costs."""

    columns: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cost that a text names, `compile_ms+benchmark_ms`; an empty one has no columns."""
        return cls(tuple(part.strip() for part in text.split("+") if part.strip()))

    def of(self, line: Mapping[str, str]) -> float | None:
        """Return the sum in a line; None where a number is missing or below 0."""
        numbers = [number_in(line[column]) for column in self.columns]
        if any(number is None or number < 0 for number in numbers):
            return None
        return sum(number for number in numbers if number is not None)

    def __str__(self) -> str:
        """Return the text that it was parsed from."""
        return "+".join(self.columns)


@dataclass(frozen=True)
class Limit:
    """A constraint on a column: `lpips<=0.3`, `feasible==True`."""

    column: str
    operator: str
    bound: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the constraint that a text names. Raises UsageError."""
        found = re.fullmatch(rf"\s*([^<>=]+?)\s*({'|'.join(OPERATORS)})\s*([^<>=]+?)\s*", text)
        if not found:
            msg = f"A constraint is COLUMN, one of {' '.join(OPERATORS)}, and a value, lpips<=0.3; {text!r} was given."
            raise UsageError(msg)
        if found[2] != "==" and number_in(found[3]) is None:
            msg = f"{found[2]} compares with a number, and {found[3]!r} was given in {text!r}."
            raise UsageError(msg)
        return cls(found[1], found[2], found[3])

    def violation(self, cell: str, factor: float = 1.0) -> float:
        """Return by how much a cell misses the bound, as a share of it; 0 or less means that it is met.

        factor: by how much the measurement is off, 1 for not at all; words are never off.
        """
        value, bound = number_in(cell), number_in(self.bound)
        if self.operator == "==":
            return 0.0 if cell == self.bound or (value is not None and value == bound) else MISSED
        if value is None or bound is None:
            return MISSED
        excess = (factor * value - bound) * (1 if self.operator[0] == "<" else -1)
        share = excess / (abs(bound) or 1.0)
        return max(share, 1e-9) if excess == 0 and len(self.operator) == 1 else share

    def __str__(self) -> str:
        """Return the text that it was parsed from."""
        return f"{self.column}{self.operator}{self.bound}"
