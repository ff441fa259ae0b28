"""What searches have found by what they have cost, as an SVG picture."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from .score import CostAxis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .evaluator import Search
    from .table import Table

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 80, 170, 40, 60
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by nearly everybody. Source: Okabe & Ito 2008."""


def plot(table: Table, searches: Mapping[str, Sequence[Search]], most: int) -> str:
    """Return an SVG picture: the mean of the best found, as times the table's best, over the cost axis.

    searches: those of each sampler, by its name, of `most` trials each. Random search, dashed, is the closed form.
    """
    axis = CostAxis(table, most)
    curves = {"random, expected": axis.random / axis.best}
    for name, found in searches.items():
        curves[name] = np.mean([axis.found(search) for search in found], axis=0) / axis.best
    top = max(float(curve.max()) for curve in curves.values())
    top = top if top > 1 else 1.01
    parts = [_frame(table.name, float(axis.costs[0]), axis.budget, top)]
    for number, (name, curve) in enumerate(curves.items()):
        parts.append(
            _line(curve, top, COLOURS[(number - 1) % len(COLOURS)] if number else "#777777", dashed=not number)
        )
        parts.append(_label(name, number, COLOURS[(number - 1) % len(COLOURS)] if number else "#777777"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif"'
    return "\n".join(
        [f'{head} font-size="12">', '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""]
    )


def _frame(title: str, first: float, last: float, top: float) -> str:
    """Return the axes with three marks each, and what they are."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [
        f'<path d="M{LEFT},{TOP} V{bottom} H{right}" fill="none" stroke="black"/>',
        _text((LEFT + right) / 2, TOP - 16, f"{title}: the best found, as times the best there is"),
        _text((LEFT + right) / 2, HEIGHT - 16, "cost, in the unit of the table"),
    ]
    for share in (0.0, 0.5, 1.0):
        parts.append(_text(LEFT + share * (right - LEFT), bottom + 18, f"{first + share * (last - first):.4g}"))
        parts.append(_text(LEFT - 8, bottom - share * (bottom - TOP) + 4, f"{1 + share * (top - 1):.3f}", "end"))
    return "\n".join(parts)


def _line(curve: np.ndarray, top: float, colour: str, *, dashed: bool) -> str:
    across = np.linspace(LEFT, WIDTH - RIGHT, len(curve))
    down = HEIGHT - BOTTOM - (curve - 1) / (top - 1) * (HEIGHT - BOTTOM - TOP)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    dash = ' stroke-dasharray="6 4"' * dashed
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'


def _label(name: str, number: int, colour: str) -> str:
    x, y = WIDTH - RIGHT + 12, TOP + 20 * number
    return f'<text x="{x}" y="{y}" fill="{colour}">{escape(name)}</text>'


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'
