"""A recorded table as a world to search in: which recipes it has, and what came of each."""

from __future__ import annotations

import csv
import math
import random
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError
from ..knobs import KNOBS
from ..recipe import Choice, Recipe
from .cells import Cost, Limit, Objective, choice_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ..knobs import Choices

DIFFERENT = 1.5  # times; rows of one recipe that differ by more are hardly repetitions of one measurement


@dataclass(frozen=True)
class Row:
    """What a table says of a recipe.

    objective: in the table's own unit, None where it did not run. judged: a cell for each constraint. cost: of trying
    it, in the table's own unit. outcome: what is said in the place of the objective, empty where it ran. peak_bytes:
    of memory, where that is known.
    """

    recipe: Recipe
    objective: float | None
    judged: tuple[str, ...]
    cost: float
    outcome: str = ""
    peak_bytes: int | None = None

    def violation(self, limits: Sequence[Limit], factor: float = 1.0) -> float:
        """Return by how much the worst constraint is missed, as a share of its limit; 0 or less means that none is."""
        return max((limit.violation(cell, factor) for limit, cell in zip(limits, self.judged, strict=True)), default=0)


@dataclass(frozen=True)
class TableSpace:
    """The recipes that a table has. defaults: choices that are left out of a recipe, as autotune's own recipes do."""

    choices: dict[str, tuple[Choice, ...]]
    listed: dict[str, Recipe]
    defaults: dict[str, Choice]

    def __contains__(self, recipe: Recipe) -> bool:
        """Return whether the table has it."""
        return recipe.key in self.listed

    def recipes(self) -> Iterator[Recipe]:
        """Yield every recipe, in the order of the table."""
        yield from self.listed.values()

    def draw(self, chance: random.Random) -> Recipe:
        """Return a recipe at random."""
        return chance.choice(list(self.listed.values()))

    def choices_of(self, recipe: Recipe) -> Choices:
        """Return the recipe with every knob in it; one that it does not name has its default."""
        return {**self.defaults, **recipe.turned}

    def recipe_of(self, choices: Choices) -> Recipe:
        """Return the recipe of these choices."""
        return _recipe_of(choices, self.defaults)

    @property
    def combinations(self) -> int:
        """How many combinations there are, most of which a table may not have."""
        return math.prod(len(choices) for choices in self.choices.values())


@dataclass(frozen=True)
class Table:
    """A table, read. notes: sentences on what was left out or taken together, and why."""

    name: str
    space: TableSpace
    rows: dict[str, Row]
    limits: tuple[Limit, ...]
    notes: tuple[str, ...]

    @property
    def feasible(self) -> dict[str, float]:
        """The objectives of the recipes that ran and meet every constraint, by key."""
        return {
            key: row.objective
            for key, row in self.rows.items()
            if row.objective is not None and row.violation(self.limits) <= 0
        }


def read_table(  # noqa: PLR0913 - all that says what its columns mean
    path: Path,
    knobs: Sequence[str],
    objective: str,
    *,
    constraints: Sequence[str] = (),
    cost: str = "",
    where: Sequence[str] = (),
) -> Table:
    """Return a CSV file as a table to search in.

    knobs: columns that identify a row; one without a cell in a row has the choice "" there. objective: a column that
    is to be small, or `a/b`. constraints: such as `lpips<=0.3`. cost: columns whose sum is what a trial costs; the
    objective itself where it is empty. where: `COLUMN=VALUE`; other rows are not looked at. Raises UsageError.
    """
    lines = _lines(path, where)
    limits = tuple(map(Limit.parse, constraints))
    measure, price = Objective.parse(objective), Cost.parse(cost)
    columns = [*knobs, *measure.columns, *price.columns, *(limit.column for limit in limits)]
    _require(columns, lines, path)
    defaults: dict[str, Choice] = {knob.name: knob.default for knob in KNOBS if knob.name in knobs}
    defaults = defaults if len(defaults) == len(knobs) else {}
    notes: list[str] = []
    usable = _judged(lines, measure, limits, notes)
    found = [_row(line, knobs, defaults, measure, limits, price) for line in usable]
    rows = _merged(found, notes)
    rows = _priced(rows, price if price.columns else measure, notes)
    if not any(row.objective is not None and row.violation(limits) <= 0 for row in rows):
        msg = f"No row of {path.name} has a number under {objective} and meets the constraints: {'; '.join(notes)}."
        raise UsageError(msg)
    choices = {knob: _ordered({choice_in(line[knob]) for line in usable}) for knob in knobs}
    space = TableSpace(choices, {row.recipe.key: row.recipe for row in rows}, defaults)
    return Table(path.stem, space, {row.recipe.key: row for row in rows}, limits, tuple(notes))


def _lines(path: Path, where: Sequence[str]) -> list[dict[str, str]]:
    """Return the lines of the file that are asked for. A cell that a short line lacks is empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [{name: cell or "" for name, cell in line.items() if name} for line in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path} cannot be read as a CSV file: {error}."
        raise UsageError(msg) from error
    for wanted in where:
        column, _, value = wanted.partition("=")
        _require([column], lines, path)
        lines = [line for line in lines if line[column] == value]
    if not lines:
        msg = f"{path} has no rows{' where ' * bool(where)}{' and '.join(where)}."
        raise UsageError(msg)
    return lines


def _require(columns: Iterable[str], lines: Sequence[dict[str, str]], path: Path) -> None:
    there = list(lines[0]) if lines else []
    for column in columns:
        if column not in there:
            msg = f"{path.name} has no column {column!r}; it has {', '.join(there) or 'no rows'}."
            raise UsageError(msg)


def _judged(
    lines: Sequence[dict[str, str]], objective: Objective, limits: Sequence[Limit], notes: list[str]
) -> list[dict[str, str]]:
    """Return the lines that say what came out: a number that can be judged, or what happened in its place."""
    silent = [line for line in lines if objective.is_empty(line)]
    if silent:
        notes.append(f"{_said(len(silent), 'row')} left out: nothing under {objective}")
    spoken = [line for line in lines if not objective.is_empty(line)]
    unjudged = [
        line for line in spoken if objective.of(line) is not None and any(not line[limit.column] for limit in limits)
    ]
    if unjudged:
        asked = " or ".join(limit.column for limit in limits)
        notes.append(f"{_said(len(unjudged), 'row')} left out: nothing under {asked}, so the constraint is unknown")
    return [line for line in spoken if line not in unjudged] if unjudged else spoken


def _row(  # noqa: PLR0913 - all of the meaning of a line
    line: dict[str, str],
    knobs: Sequence[str],
    defaults: Choices,
    objective: Objective,
    limits: Sequence[Limit],
    cost: Cost,
) -> Row:
    recipe = _recipe_of({knob: choice_in(line[knob]) for knob in knobs}, defaults)
    value = objective.of(line)
    price = cost.of(line) if cost.columns else value
    judged = tuple(line[limit.column] for limit in limits)
    return Row(recipe, value, judged, math.nan if price is None else price, "" if value else objective.said(line))


def _recipe_of(choices: Choices, defaults: Choices) -> Recipe:
    return Recipe(turned={name: choice for name, choice in choices.items() if defaults.get(name) != choice})


def _merged(rows: Iterable[Row], notes: list[str]) -> list[Row]:
    """Return one row for each recipe: of several, the one with the median objective, and the failed only if all are."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.recipe.key].append(row)
    repeated = [group for group in groups.values() if len(group) > 1]
    if repeated:
        total = sum(map(len, repeated))
        notes.append(f"{_said(total, 'row')} repeat {_said(len(repeated), 'recipe')}: the median row stands for each")
    spread = max(map(_spread, repeated), default=1.0)
    if spread > DIFFERENT:
        notes.append(f"rows of one recipe differ by up to {spread:.1f} times: is a knob missing from --knobs?")
    return [_median(group) for group in groups.values()]


def _median(group: Sequence[Row]) -> Row:
    able = sorted((row for row in group if row.objective is not None), key=lambda row: row.objective or 0.0)
    return able[(len(able) - 1) // 2] if able else group[0]


def _spread(group: Sequence[Row]) -> float:
    values = [row.objective for row in group if row.objective is not None]
    return max(values) / min(values) if values else 1.0


def _priced(rows: Sequence[Row], source: object, notes: list[str]) -> list[Row]:
    """Return the rows with a cost each; one that has none is charged the median of the others."""
    missing = [row for row in rows if math.isnan(row.cost)]
    if not missing:
        return list(rows)
    known = [row.cost for row in rows if not math.isnan(row.cost)]
    usual = statistics.median(known) if known else 1.0
    failed = " that did not run" if all(row.objective is None for row in missing) else ""
    notes.append(f"{_said(len(missing), 'recipe')}{failed} charged the median cost: nothing under {source}")
    return [
        Row(row.recipe, row.objective, row.judged, usual, row.outcome) if math.isnan(row.cost) else row for row in rows
    ]


def _ordered(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    """Return choices in an order that means something where they are numbers; what is not a number comes first."""
    return tuple(
        sorted(choices, key=lambda choice: (0, 0, choice) if isinstance(choice, str) else (1, float(choice), ""))
    )


def _said(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
