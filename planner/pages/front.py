"""The picture of a search: each trial a place between latency and what it costs, as numbers that a template draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..choose import said_bytes
from ..said import said_ms
from .wording import CAUSES, said_share

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .tally import Dot, Role

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 92, 16, 34, 92
FAILED_Y = HEIGHT - 19
"""Where trials stand that have no place: below the axis, in a strip of their own."""

MOST_DRAWN = 400
"""A picture of more marks shows less. Those that matter are drawn whatever they are."""
MOST_FAILED = 60
"""So many stand beside each other in the strip, and can still be pointed at."""

Measure = Literal["quality", "memory"]
ORDER: tuple[Role, ...] = ("failed", "tried", "front", "plan", "baseline")


@dataclass(frozen=True)
class Tick:
    """A line across the picture, at `at`, with its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A trial at its place; `label` is written beside it, `says` when it is pointed at."""

    x: float
    y: float
    dot: Dot
    says: str
    label: str = ""
    anchor: Literal["start", "end"] = "start"


@dataclass(frozen=True)
class Chart:
    """A picture: latency to the right, a measure upwards. `line` joins what nothing beats, `left_out` counts the rest.

    `limit` is where the measure must be reached, None where nothing is asked of it.
    """

    title: str
    upwards: str
    says: str
    xs: tuple[Tick, ...]
    ys: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    failed: tuple[Mark, ...]
    line: str
    limit: Tick | None
    left_out: int


@dataclass(frozen=True)
class _Axis:
    """From a quantity to a place; on a scale of its logarithm where the quantity spans much."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        scale: Callable[[float], float] = math.log if self.logarithmic else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return round(self.start + share * (self.end - self.start), 1)


def chart(dots: Sequence[Dot], measure: Measure, tolerance: float) -> Chart | None:
    """Return the picture of the trials by latency and a measure; None where fewer than two have both."""
    value = _quality if measure == "quality" else _memory
    placed = [dot for dot in dots if dot.latency_ms is not None and value(dot) is not None and dot.role != "failed"]
    if len(placed) < 2:
        return None
    drawn, good = _drawn(placed), [dot for dot in placed if dot.role != "tried"] or placed
    x, y = _latencies(drawn), _axis_of([value(dot) or 0.0 for dot in drawn], measure, tolerance)
    failed = [dot for dot in dots if dot.role == "failed"]
    stripped = failed[:MOST_FAILED]
    step = min(20.0, (WIDTH - LEFT - RIGHT - 12) / max(1, len(stripped)))
    labels = {dot.number: dot.role for dot in (*_named(drawn, "plan"), *_named(drawn, "baseline"))}
    said = said_share if measure == "quality" else _said_memory
    upwards = "CLIP score, as a share of the baseline's" if measure == "quality" else "peak memory"
    return Chart(
        title=f"Latency and {'quality' if measure == 'quality' else 'memory'}",
        upwards=upwards,
        says=f"{len(placed)} trials by latency and {upwards}, and {len(failed)} that failed.",
        xs=tuple(Tick(x.at(tick), said_ms(tick)) for tick in _ticks(x)),
        ys=tuple(Tick(y.at(tick), said(tick)) for tick in _ticks(y)),
        marks=tuple(_mark(dot, x.at(dot.latency_ms or 0.0), y.at(value(dot) or 0.0), labels) for dot in drawn),
        failed=tuple(
            _mark(dot, round(LEFT + 12 + step * place, 1), FAILED_Y, {}) for place, dot in enumerate(stripped)
        ),
        line=_line([(x.at(dot.latency_ms or 0.0), y.at(value(dot) or 0.0)) for dot in good], measure),
        limit=Tick(y.at(1 - tolerance), f"{1 - tolerance:g} is asked") if measure == "quality" else None,
        left_out=len(placed) - len(drawn) + len(failed) - len(stripped),
    )


def said_of(dot: Dot) -> str:
    """Return a trial in a sentence: what is said of its mark when it is pointed at."""
    figures = [
        said_ms(dot.latency_ms) if dot.latency_ms is not None else "",
        f"quality {said_share(dot.quality)}" if dot.quality is not None else "",
        said_bytes(dot.peak_bytes) if dot.peak_bytes is not None else "",
        CAUSES[dot.outcome] if dot.outcome != "ok" else "",
    ]
    return f"{dot.recipe}: {', '.join(filter(None, figures))}"


def _quality(dot: Dot) -> float | None:
    return dot.quality


def _memory(dot: Dot) -> float | None:
    return None if dot.peak_bytes is None else float(dot.peak_bytes)


def _said_memory(count: float) -> str:
    return said_bytes(round(count))


def _drawn(placed: Sequence[Dot]) -> list[Dot]:
    """Return what is drawn, the most telling last, so that it lies on top; of the others, as many fast as slow ones."""
    telling = sorted(
        (dot for dot in placed if dot.role != "tried"), key=lambda dot: (-ORDER.index(dot.role), dot.latency_ms)
    )
    others = sorted((dot for dot in placed if dot.role == "tried"), key=lambda dot: dot.latency_ms or 0.0)
    room = min(len(others), MOST_DRAWN - len(telling[:MOST_DRAWN]))
    spread = [others[place * len(others) // room] for place in range(room)]
    return spread + sorted(telling[:MOST_DRAWN], key=lambda dot: ORDER.index(dot.role))


def _named(drawn: Sequence[Dot], role: Role) -> list[Dot]:
    """Return the one of a role that is named in the picture: the fastest."""
    return sorted((dot for dot in drawn if dot.role == role), key=lambda dot: dot.latency_ms or 0.0)[:1]


def _mark(dot: Dot, x: float, y: float, labels: Mapping[int, str]) -> Mark:
    return Mark(x, y, dot, said_of(dot), labels.get(dot.number, ""), "end" if x > WIDTH * 0.75 else "start")


def _latencies(drawn: Sequence[Dot]) -> _Axis:
    values = [dot.latency_ms or 0.0 for dot in drawn]
    low, high = min(values), max(values)
    if high > 4 * low > 0:
        return _Axis(low / 1.15, high * 1.15, LEFT, WIDTH - RIGHT, logarithmic=True)
    room = 0.08 * (high - low) or 0.1 * high
    return _Axis(max(0.0, low - room), high + room, LEFT, WIDTH - RIGHT)


def _axis_of(values: Sequence[float], measure: Measure, tolerance: float) -> _Axis:
    low, high = min(values), max(values)
    if measure == "quality":
        low, high = min(low, 1 - tolerance), max(high, 1.0)
    room = 0.12 * (high - low) or 0.1 * high
    return _Axis(max(0.0, low - room), high + room, HEIGHT - BOTTOM, TOP)


def _ticks(axis: _Axis) -> list[float]:
    """Return round values within an axis, four to seven of them."""
    if axis.logarithmic:
        decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
        ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    else:
        step = _round_step((axis.high - axis.low) / 5, of_bytes=axis.high > 2**24)
        ticks = [step * place for place in range(math.ceil(axis.low / step), math.floor(axis.high / step) + 1)]
    return [tick for tick in ticks if axis.low <= tick <= axis.high]


def _round_step(step: float, *, of_bytes: bool) -> float:
    unit = (2.0**30 if step >= 2**29 else 2.0**20) if of_bytes else 1.0
    decade = 10.0 ** math.floor(math.log10(step / unit))
    return unit * decade * next(digit for digit in (1, 2, 5, 10) if digit * decade * unit >= step)


def _line(places: Sequence[tuple[float, float]], measure: Measure) -> str:
    """Return the path along what nothing beats: to the left is faster, and upwards better, or downwards smaller."""
    worse = 1 if measure == "quality" else -1  # the screen's y grows downwards
    best: list[tuple[float, float]] = []
    for x, y in sorted(places, key=lambda place: (place[0], worse * place[1])):
        if not best or worse * y < worse * best[-1][1]:
            best.append((x, y))
    return f"M{best[0][0]} {best[0][1]}" + "".join(f"H{x}V{y}" for x, y in best[1:])
