"""What `autotune replay` says: how well samplers search a table, against random search."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...search.replay.score import Interval, Score
    from ...search.replay.table import Table

NEVER = "never"
WIDTH = 160  # columns, where the output is a file


def print_scores(table: Table, scores: Sequence[Score]) -> None:
    """Print a row for each sampler, and what was left out of the table."""
    console = Console(markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    least = min(table.feasible.values())
    console.print(f"{len(table.rows)} recipes, {len(table.feasible)} feasible, the best {least:.4g}", soft_wrap=True)
    for note in table.notes:
        console.print(f"{note}.", soft_wrap=True)
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for heading in (
        "sampler",
        "score",
        "trials to 5 %",
        "cost to 5 %",
        "saved",
        "trials to 1 %",
        "saved",
        "pick",
        "ask",
    ):
        grid.add_column(heading, justify="left" if heading == "sampler" else "right", no_wrap=True)
    near, nearest = scores[0].reaching
    grid.add_row(
        "(closed form)",
        "0",
        f"{near.random_trials:.1f}",
        f"{near.random_cost:.4g}",
        "1",
        f"{nearest.random_trials:.1f}",
        "1",
    )
    for score in scores:
        grid.add_row(*_cells(score))
    console.print(grid)


def _cells(score: Score) -> list[str]:
    near, nearest = score.reaching
    return [
        score.sampler,
        _said(score.score),
        _said(near.trials),
        _said(near.cost),
        f"{_figure(near.cost_saved.value)}x",
        _said(nearest.trials),
        f"{_figure(nearest.cost_saved.value)}x",
        _pick(score),
        f"{score.ask_ms:.1f} ms",
    ]


def _pick(score: Score) -> str:
    """Return the share of picks that are feasible, and by how much the usual one is slower than the best."""
    regret = NEVER if score.pick_regret is None else f"+{100 * score.pick_regret:.1f} %"
    return f"{100 * score.picked_feasible:.0f} % {regret}"


def _said(interval: Interval) -> str:
    return f"{_figure(interval.value)} [{_figure(interval.low)}, {_figure(interval.high)}]"


def _figure(value: float | None) -> str:
    return NEVER if value is None else f"{value:.3g}"
