"""Verifying the table of knobs and rules on this machine, row by row into a file: `autotune verify`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ..errors import StoreError, UsageError
from ..probes.machine import Machine, probe
from ..search.compiled import is_compiled
from ..search.recipe import Recipe
from ..search.space import Space
from ..search.verify.architectures import ARCHITECTURES, Architecture
from ..search.verify.check import Row, breaking, checker, pairs, singles
from ..value import Value
from .lock import the_only_tuner

SCHEMA_VERSION = 1

Rows = dict[tuple[str, Recipe], Row]


class Header(Value):
    """The first line of a file: what the rows hold for."""

    schema_version: int = SCHEMA_VERSION
    software: dict[str, str]
    cpu: str
    device: str


@dataclass(frozen=True)
class Wanted:
    """What is to be verified. names: of architectures, none means all; pairs: every two choices too.

    minutes: stop after this; what a file has of the same software is not run again, unless fresh.
    """

    names: Sequence[str] = ()
    pairs: bool = False
    minutes: float | None = None
    fresh: bool = False


def verify(wanted: Wanted, file: Path, on_row: Callable[[Row], None] = lambda _: None) -> list[Row]:
    """Return the rows of a verification: those that the file has, and new ones, which are added to it as they come.

    What the table says of the old ones is asked anew. A file of other software, or with `fresh`, is begun anew.
    Raises UsageError, StoreError, and BusyError where another verification or a tuning is going on.
    """
    chosen = [_architecture(name) for name in wanted.names] or list(ARCHITECTURES)
    machine = probe()
    device = machine.accelerators[0].name if machine.accelerators else "cpu"
    header = Header(software=running(machine), cpu=machine.cpu.model_name, device=device)
    with the_only_tuner():
        rows = {} if wanted.fresh else {(row.architecture, row.recipe): row for row in _kept(file, header)}
        _add(rows, file, header, _seen(chosen, machine, wanted, rows), on_row)
    return list(rows.values())


def _add(rows: Rows, file: Path, header: Header, new: Iterable[Row], on_row: Callable[[Row], None]) -> None:
    """Write all rows into the file, each new one as it comes."""
    try:
        _write(file, header, rows.values())
        with file.open("a", encoding="utf-8") as stream:
            for row in new:
                stream.write(f"{row.model_dump_json()}\n")
                stream.flush()
                on_row(row)
        _write(file, header, rows.values())
    except OSError as error:
        msg = f"The rows cannot be written to {file} ({error})."
        raise StoreError(msg) from error


def _seen(chosen: list[Architecture], machine: Machine, wanted: Wanted, rows: Rows) -> Iterator[Row]:
    """Yield the rows that are missing, and add them: each knob alone, some pairs that break each rule, then all pairs.

    Of each of these, all architectures, and what is compiled by itself: what takes long waits until the rest is known.
    """
    deadline = time.monotonic() + 60 * wanted.minutes if wanted.minutes else math.inf
    for recipes in (_alone, _broken, _compiled, *([pairs] if wanted.pairs else [])):
        for architecture in chosen:
            with checker(architecture, machine) as check:
                name = architecture.name
                rows |= {key: check.judged(row) for key, row in rows.items() if key[0] == name}
                for recipe in recipes(check.space):
                    if (name, recipe) not in rows and time.monotonic() < deadline:
                        rows[name, recipe] = check.row(recipe)
                        yield rows[name, recipe]


def _alone(_: Space) -> list[Recipe]:
    return [recipe for recipe in singles() if not is_compiled(recipe)]


def _broken(space: Space) -> list[Recipe]:
    return [recipe for recipe in breaking(space) if not is_compiled(recipe)]


def _compiled(space: Space) -> list[Recipe]:
    return [recipe for recipe in (*singles(), *breaking(space)) if is_compiled(recipe)]


def _write(file: Path, header: Header, rows: Iterable[Row]) -> None:
    """Write a file so that it is there whole or as it was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_text("".join(f"{line.model_dump_json()}\n" for line in (header, *rows)), encoding="utf-8")
    draft.replace(file)


def running(machine: Machine) -> dict[str, str]:
    """Return the versions of what runs a pipeline."""
    versions = machine.software.versions
    return {name: version for name, version in versions.items() if name not in {"autotune", "optuna"}}


def read_rows(file: Path) -> tuple[Header, list[Row]]:
    """Return what a file holds, without a last line that its writer did not finish. Raises StoreError."""
    try:
        text = file.read_text(encoding="utf-8")
        first, *others = text[: text.rfind("\n") + 1].splitlines()
        return Header.model_validate_json(first), [Row.model_validate_json(line) for line in others]
    except (OSError, ValueError) as error:
        msg = f"{file} holds no verification that can be read ({error}): give another file with -o, or --fresh."
        raise StoreError(msg) from error


def _kept(file: Path, header: Header) -> list[Row]:
    if not file.exists():
        return []
    found, rows = read_rows(file)
    return rows if found == header else []


def _architecture(name: str) -> Architecture:
    for architecture in ARCHITECTURES:
        if architecture.name == name:
            return architecture
    names = [each.name for each in ARCHITECTURES]
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
    msg = f"There is no architecture {name!r}; {hint}"
    raise UsageError(msg)
