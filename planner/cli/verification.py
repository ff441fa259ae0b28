"""What `autotune verify` says: a line a row while it goes, and at the end what is not as the table has it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ...search.rules import RULES
from ...search.verify.findings import difference, differences, standing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...search.verify.check import Row


def say_row(row: Row) -> None:
    """Write a row to the error output as it comes."""
    wrong = difference(row)
    told = "refused" if row.refused else "allowed"
    sys.stderr.write(
        f"{row.architecture:<8}{row.recipe.key:<56} {told}, {row.outcome}{f'  <- {wrong}' * bool(wrong)}\n"
    )
    sys.stderr.flush()


def say_row_json(row: Row) -> None:
    """Write a row to standard output as a line of JSON, with its difference from the table."""
    sys.stdout.write(json.dumps({"event": "row", **row.model_dump(mode="json"), "difference": difference(row)}) + "\n")
    sys.stdout.flush()


def print_verification(rows: Sequence[Row], file: Path) -> None:
    """Print the counts, the rules that are not confirmed, and every difference."""
    console = Console(markup=False, emoji=False, highlight=False)
    table = Table("pipeline", "run", "work", "do nothing", "fail", "not as the table has it", box=None, pad_edge=False)
    for name in dict.fromkeys(row.architecture for row in rows):
        own = [row for row in rows if row.architecture == name]
        seen = Counter(row.outcome for row in own)
        counts = (len(own), seen["works"], seen["does nothing"], seen["fails"], len(differences(own)))
        table.add_row(name, *map(str, counts))
    console.print(table)
    for rule in RULES:
        how, count = standing(rule, rows)
        console.print(f"{rule.name}: {how}" + f" ({count} combinations)" * bool(count))
    for row, said in differences(rows):
        console.print(f"{row.architecture}, {row.recipe.key}: {said}.", soft_wrap=True)
    console.print(f"The rows are in {file}.", soft_wrap=True)
