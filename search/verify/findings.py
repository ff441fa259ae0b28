"""What was seen, held against the table of knobs and rules: where they differ, and which rules are proved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..knobs import KNOBS
from ..rules import RULES, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .check import Row

ROUNDING = 0.02  # of a pixel's range: what half the digits, or another order of sums, may change in a mean
STEADY = 1e-3  # the same between two calls that are just alike
BY_CONTENT = {"feature_cache"}  # knobs that act where steps are alike, which those of random weights need not be

Standing = Literal["confirmed", "contradicted", "not checked on this machine", "does not show on a small pipeline"]


def difference(row: Row) -> str:
    """Return the sentence that says where a row is not as the table has it; empty where it is.

    What a knob alone refuses and runs all the same is no difference: it is refused for being slow or pointless too.
    """
    if row.refused:
        rule = next((rule for rule in RULES if rule.name == row.rule), None)
        wrong = rule and rule.shows and row.outcome == "works"
        return f"the rule {row.rule} refuses it, and it works" if wrong else ""
    if row.outcome == "fails":
        return f"it is allowed, and fails: {row.detail}"
    if row.outcome == "does nothing":
        return f"it is allowed, and {row.detail} does nothing"
    if row.unsteadiness > STEADY:
        return f"two calls that are just alike are {row.unsteadiness:.2g} apart"
    return _claim(row)


def _claim(row: Row) -> str:
    """Return how the image contradicts what the knobs say of it."""
    lossy = [knob.name for knob in KNOBS if row.recipe.turned.get(knob.name, knob.default) in knob.lossy]
    apart = row.apart or 0.0
    if lossy and len(row.recipe.turned) == 1 and apart == 0.0 and not BY_CONTENT.issuperset(lossy):
        return "it may change the image, and changes nothing"
    if not lossy and apart > ROUNDING:
        return f"it claims to be exact, and changes the image by {apart:.2g}"
    return ""


def differences(rows: Iterable[Row]) -> list[tuple[Row, str]]:
    """Return the rows that are not as the table has it, each with its sentence."""
    return [(row, said) for row in rows if (said := difference(row))]


def standing(rule: Rule, rows: Sequence[Row]) -> tuple[Standing, int]:
    """Return how a rule stands, and how many rows were made to break it.

    It is confirmed where some combination that it refuses fails or is pointless, and none works.
    """
    broken = [row for row in rows if row.rule == rule.name]
    if not broken:
        return "not checked on this machine", 0
    if not rule.shows:
        return "does not show on a small pipeline", len(broken)
    works = any(row.outcome == "works" for row in broken)
    return ("contradicted" if works else "confirmed"), len(broken)
