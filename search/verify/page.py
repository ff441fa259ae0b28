"""The compatibility table as Markdown, from the rows of a verification."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..rules import RULES
from .check import singles
from .findings import differences, standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .check import Row


def page(rows: Sequence[Row]) -> str:
    """Return what the rows say: each choice alone, the rules, and what is not as the table has it."""
    return "\n".join([*_alone(rows), "", *_rules(rows), "", *_pairs(rows), "", *_not_as_told(rows)])


def _alone(rows: Sequence[Row]) -> Iterator[str]:
    names = list(dict.fromkeys(row.architecture for row in rows))
    found = {(row.recipe, row.architecture): row for row in rows if len(row.recipe.turned) == 1}
    yield "### Each choice alone\n"
    yield f"| choice | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for recipe in singles():
        cells = [_cell(found.get((recipe, name))) for name in names]
        if any(cells):
            yield f"| `{recipe.key}` | {' | '.join(cells)} |"


def _cell(row: Row | None) -> str:
    """Return one cell: how far the image is from the unmodified pipeline's, or why there is none."""
    if row is None:
        return ""
    if row.refused:
        return {"works": "refused (runs)", "fails": "refused (fails)", "does nothing": "refused (idle)"}[row.outcome]
    return f"{row.apart:.1g}" if row.outcome == "works" and row.apart is not None else f"**{row.outcome}**"


def _rules(rows: Sequence[Row]) -> Iterator[str]:
    yield "### Each rule, made to be broken\n"
    yield "| rule | combinations run | standing |"
    yield "|---|---|---|"
    for rule in RULES:
        how, count = standing(rule, rows)
        yield f"| `{rule.name}` | {count} | {how} |"


def _pairs(rows: Sequence[Row]) -> Iterator[str]:
    yield "### Every two choices together\n"
    yield "| architecture | pairs run | allowed | of these work | refused by a rule | of these fail or are pointless |"
    yield "|---|---|---|---|---|---|"
    for name in dict.fromkeys(row.architecture for row in rows):
        two = [row for row in rows if row.architecture == name and len(row.recipe.turned) == 2]
        counts = Counter((bool(row.refused), row.outcome == "works") for row in two)
        allowed, refused = (counts[refused, True] + counts[refused, False] for refused in (False, True))
        yield f"| {name} | {len(two)} | {allowed} | {counts[False, True]} | {refused} | {counts[True, False]} |"


def _not_as_told(rows: Sequence[Row]) -> Iterator[str]:
    yield "### Not as the table has it\n"
    found = differences(rows)
    if not found:
        yield "Nothing."
    for row, said in found:
        yield f"- {row.architecture}, `{row.recipe.key}`: {said.replace('`', '')}"
