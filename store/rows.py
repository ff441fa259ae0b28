"""Values as rows, and rows as values. Each row holds its value as a JSON document, and a seal over all that it says."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, TypeVar

from ..value import Value

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from ..probes.machine import Machine
    from ..search.measured import Trial
    from ..search.plan import Plan
    from .job import Job
    from .outcome import Outcome
    from .run import Run

Row = dict[str, str | int]
V = TypeVar("V", bound=Value)

_UNSEALED = {"kept", "sha256"}  # SQLite gives the number `kept` when it writes the row; it only orders them


IDENTITY = {
    "machines": ("fingerprint",),
    "runs": ("id",),
    "trials": ("run_id", "recipe_key"),
    "plans": ("run_id", "recipe_key"),
    "outcomes": ("id",),
    "jobs": ("id",),
}
"""The columns of each table by which its rows are told apart, those that others refer to first."""


def machine_row(machine: Machine) -> Row:
    """Return the row of a machine as it was seen."""
    return _sealed({"fingerprint": machine.fingerprint, "document": machine.model_dump_json()})


def run_row(run: Run) -> Row:
    """Return the row of a run, without its trials; all but a finished run is kept as unfinished."""
    kept = run if run.state == "finished" else run.model_copy(update={"state": "unfinished"})
    document = kept.model_dump_json(exclude={"trials"})
    return _sealed({"id": run.id, "scope_key": run.scope.key, "model": run.scope.model, "document": document})


def trial_row(run_id: str, trial: Trial) -> Row:
    """Return the row of a trial of the run `run_id`."""
    return _sealed({"run_id": run_id, "recipe_key": trial.recipe.key, "document": trial.model_dump_json()})


def plan_row(plan: Plan, *, provisional: bool) -> Row:
    """Return the row of a plan; it is provisional while its run is unfinished."""
    names: Row = {"run_id": plan.run, "recipe_key": plan.recipe.key, "model": plan.scope.model}
    return _sealed({**names, "provisional": int(provisional), "document": plan.model_dump_json()})


def outcome_row(outcome: Outcome) -> Row:
    """Return the row of what an app has said of a plan."""
    names: Row = {"id": outcome.id, "plan_id": outcome.plan_id, "ending": outcome.outcome}
    return _sealed({**names, "document": outcome.model_dump_json()})


def job_row(job: Job) -> Row:
    """Return the row of a job as it stands."""
    return _sealed({"id": job.id, "document": job.model_dump_json()})


def values_in(rows: Iterable[sqlite3.Row], kind: type[V]) -> tuple[list[V], list[int]]:
    """Return the values of the sound rows, and the numbers of the others: a damaged row never becomes a value."""
    values, damaged = [], []
    for row in rows:
        value = _value_in(dict(row), kind)
        if value is None:
            damaged.append(row["kept"])
        else:
            values.append(value)
    return values, damaged


def sound(row: Mapping[str, object], kind: type[Value]) -> bool:
    """Return whether a row is as it was written, and can become a value."""
    return _value_in(row, kind) is not None


def _value_in(row: Mapping[str, object], kind: type[V]) -> V | None:
    if row["sha256"] != _seal(row):
        return None
    try:
        return kind.model_validate_json(str(row["document"]))
    except ValueError:  # sealed by a version whose values had another form
        return None


def _sealed(columns: Row) -> Row:
    return {**columns, "sha256": _seal(columns)}


def _seal(row: Mapping[str, object]) -> str:
    columns = {name: content for name, content in row.items() if name not in _UNSEALED}
    text = json.dumps(columns, sort_keys=True, default=repr)  # where a row is damaged, bytes may stand for a text
    return hashlib.sha256(text.encode()).hexdigest()
