"""Plans as files, to be carried to other machines: a folder of them can be kept in git, and served."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from ..errors import UsageError
from ..probes.machine import Machine
from ..probes.whole import write_whole
from ..search.knobs import KNOBS
from ..search.plan import Plan
from ..store.run import Run
from ..value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..store.store import Store


class Parcel(Value):
    """The plans of one finished run, with the machine that they were measured on. Trials stay where they were made."""

    schema_version: Literal[1] = 1
    machine: Machine
    run: Run
    plans: tuple[Plan, ...]


def write_parcels(store: Store, folder: Path) -> list[Path]:
    """Write a file for each finished run that has plans, `MODEL/KIND-SCOPE.json`; the newest run of a scope stays."""
    files: dict[Path, None] = {}
    for run in reversed(store.runs()):
        plans, machine = store.plans_of(run.id), store.machine(run.scope.machine)
        if run.state == "finished" and plans and machine:
            model = re.sub(r"[^A-Za-z0-9._-]+", "-", run.scope.model).strip("-.") or "model"
            file = folder / model / f"{machine.kind}-{run.scope.key}.json"
            parcel = Parcel(machine=machine, run=run.model_copy(update={"trials": ()}), plans=plans)
            try:
                write_whole(file, parcel.model_dump_json(indent=1) + "\n")
            except OSError as error:
                msg = f"{file} cannot be written: {error.strerror}."
                raise UsageError(msg) from error
            files[file] = None
    return list(files)


def read_parcels(place: Path) -> Iterator[Parcel]:
    """Yield what lies in a file, or in all files below a folder. Raises UsageError for what is no parcel."""
    files = sorted(place.rglob("*.json")) if place.is_dir() else [place]
    if not files:
        msg = f"There are no plans in {place}: a folder is wanted that `autotune sweep export` has filled."
        raise UsageError(msg)
    for file in files:
        try:
            parcel = Parcel.model_validate_json(file.read_text(encoding="utf-8"))
            _check(parcel)
        except ValidationError as error:
            msg = f"{file} holds no plans of this version of autotune ({error.errors()[0]['msg']})."
            raise UsageError(msg) from error
        except (OSError, ValueError) as error:
            msg = f"{file} cannot be read ({error})."
            raise UsageError(msg) from error
        yield parcel


def take_in(store: Store, parcel: Parcel) -> bool:
    """Keep the plans of a parcel, and return whether they are new here.

    An app gets them as borrowed, with what is different here.
    """
    store.adopt_run(parcel.run, parcel.machine)
    if store.run(parcel.run.id).state == "finished":
        return False
    store.finish_run(parcel.run.id, parcel.run.reason, parcel.plans, finished=True)
    return True


def _check(parcel: Parcel) -> None:
    """Raise ValueError where a parcel contradicts itself, or turns what there is not."""
    run = parcel.run
    if run.scope.machine != parcel.machine.fingerprint or any(plan.run != run.id for plan in parcel.plans):
        msg = "its plans are of another machine or run than it says"
        raise ValueError(msg)
    known = {(knob.name, choice) for knob in KNOBS for choice in knob.choices}
    for plan in parcel.plans:
        for turn in {*plan.recipe.turned.items(), *plan.baseline.turned.items()} - known:
            msg = f"it turns {turn[0]}={turn[1]}, which this autotune does not know"
            raise ValueError(msg)
