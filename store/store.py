"""The store: what was measured, and the plans that came of it, in one file that outlives crashes and power cuts."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import chain, groupby
from typing import TYPE_CHECKING, TypeVar

from ..errors import StoreError
from ..probes.machine import Machine
from ..search.measured import Trial
from ..search.plan import Plan, Scope
from ..value import Value
from .backups import back_up
from .checks import check_before_writing, emptiness, has_content, known_version, schema_version, structural_damage
from .connection import connect_to_read, connect_to_write, disconnect, writing
from .job import Job
from .outcome import Outcome
from .places import data_dir, make_folder
from .rows import Row, job_row, machine_row, outcome_row, plan_row, run_row, sound, trial_row, values_in
from .run import Run, new_id, now
from .sentences import sentences

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from sqlite_utils import Database

    from ..search.workload import Workload

FILE_NAME = "autotune.db"

OUTCOMES_KEPT = 20
"""Of the calls with one plan that ended in one way, so many are remembered: apps report each of thousands."""

TABLES: dict[str, type[Value]] = {
    "machines": Machine,
    "runs": Run,
    "trials": Trial,
    "plans": Plan,
    "outcomes": Outcome,
    "jobs": Job,
}
"""The tables, each with the values that its rows are."""

JOBS_KEPT = 200
"""So many jobs that are over are remembered; the oldest are forgotten first."""

_COUNT = "SELECT run_id, count(*) AS count FROM trials GROUP BY run_id"
_SINCE = {"outcomes": 2, "jobs": 3}  # the version that a table came with, where it was not the first

V = TypeVar("V", bound=Value)


class Store:
    """What was measured. Open it with `Store.open` or `Store.read`, as a context manager; it belongs to one thread.

    A row that is damaged is never served: it is left out, and `damage` says so. Every method raises StoreError where
    the file cannot be read or written, and then nothing of what it should have kept is kept.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection | None, db: Database | None, damage: str) -> None:
        self.path = path
        self._connection = connection  # None: there is no file, and nothing in it
        self._db = db  # None: for reading only
        self._damage = damage

    @classmethod
    def open(cls, path: Path | None = None, *, wait_s: float = 5.0) -> Self:
        """Return the store for reading and writing; it is made, or brought up to date, where that is needed.

        path: the file; `autotune.db` in the data folder where it is not given.
        wait_s: how long each method waits while another process writes, before it raises StoreError.

        Raises StoreError if the file is damaged in its structure, not a store, or written by a newer autotune (it is
        then left as it is), or if it cannot be written.
        """
        path = path or data_dir() / FILE_NAME
        make_folder(path.parent)
        damage = emptiness(path)
        if has_content(path):
            check_before_writing(path, wait_s=wait_s)
        from sqlite_utils import Database

        from .migrations import bring_up_to_date

        connection = connect_to_write(path, wait_s=wait_s)
        try:
            db = Database(connection, recursive_triggers=False, execute_plugins=False)
            bring_up_to_date(db, path)
        except BaseException:
            disconnect(connection)
            raise
        return cls(path, connection, db, damage)

    @classmethod
    def read(cls, path: Path | None = None, *, wait_s: float = 5.0) -> Self:
        """Return the store for reading only; nothing is made or written, and no folder either.

        Where there is no file, the store is empty. Read it anew for each question: after a crash of the writer it
        may be a copy of that moment. `path` and `wait_s` as for `open`.

        Raises StoreError if the file is not a store, of another version, or cannot be read.
        """
        path = path or data_dir(make=False) / FILE_NAME
        if not has_content(path):
            return cls(path, None, None, emptiness(path))
        connection = connect_to_read(path, wait_s=wait_s)
        try:
            if known_version(connection, path):
                return cls(path, connection, None, "")
            # no tables: its writer was killed before it had made them, or they are lost
            damage = structural_damage(connection, path)
        except BaseException:
            connection.close()
            raise
        connection.close()
        return cls(path, None, None, damage)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was kept is already safe."""
        if self._db is not None:
            disconnect(self._db.conn)
        elif self._connection is not None:
            self._connection.close()
        self._db = None

    @property
    def damage(self) -> tuple[str, ...]:
        """One sentence for each thing in the file that is damaged and left out. The whole file is read for it."""
        found = [self._damage]
        if self._connection is not None:
            found.append(structural_damage(self._connection, self.path))
            tables = [name for name in TABLES if not self._is_older_than(_SINCE.get(name, 1))]
            found += chain.from_iterable(self._damage_of(table, TABLES[table]) for table in tables)
        return tuple(filter(None, found))

    def begin_run(self, scope: Scope, machine: Machine, *, fresh: bool) -> Run:
        """Return the run to keep trials in, or the one that makes them needless.

        The newest run of the same scope decides: it is `resumed` with its trials if it is unfinished, or returned as
        `finished`. Where there is none, or if `fresh`, a `new` one is begun. The machine is kept as it is now.

        Raises StoreError if `scope` is of another machine than `machine`.
        """
        if machine.fingerprint != scope.machine:
            raise StoreError(
                f"A run for the machine {scope.machine} cannot be begun on the machine {machine.fingerprint}: "
                f"probe the machine again, and begin the run with what it says."
            )
        with self._writing() as db:
            _replace(db, "machines", machine_row(machine), "fingerprint")
            found = None if fresh else self._newest_run(scope)
            if found is None:
                run = Run(id=new_id(), scope=scope, state="new", started_at=now(), machine=machine)
                db.table("runs").insert(run_row(run))
                return run
        return found if found.state == "finished" else found.model_copy(update={"state": "resumed"})

    def adopt_run(self, run: Run, machine: Machine) -> None:
        """Take over a run that another store has begun, with those of its trials that are not here, as unfinished.

        What is here already stays as it is. So a run can go on elsewhere, and be kept in two places.
        """
        with self._writing() as db:
            _replace(db, "machines", machine_row(machine), "fingerprint")
            if not self._values(Run, "SELECT * FROM runs WHERE +id = ?", run.id):
                adopted = run.model_copy(update={"state": "unfinished", "trials": ()})
                db.table("runs").insert(run_row(adopted))
            here = {trial.recipe.key for trial in self.trials(run.id)}
            for trial in run.trials:
                if trial.recipe.key not in here:
                    db.table("trials").insert(trial_row(run.id, trial))

    def keep_trial(self, run_id: str, trial: Trial) -> None:
        """Keep a trial of an unfinished run: when this returns, it is on the disk.

        Raises StoreError if the run is unknown or finished, or has a trial of the same recipe already.
        """
        with self._writing() as db:
            self._unfinished(run_id)
            rows = self._rows("SELECT * FROM trials WHERE +run_id = ? AND recipe_key = ?", run_id, trial.recipe.key)
            if values_in(rows, Trial)[0]:
                raise StoreError(f"The run {run_id} has a trial of `{trial.recipe}` already: one is enough.")
            for damaged in rows:  # it was never served, so its recipe was rightly tried again
                db.table("trials").delete(damaged["kept"])
            db.table("trials").insert(trial_row(run_id, trial))

    def finish_run(self, run_id: str, reason: str, plans: Sequence[Plan], *, finished: bool) -> None:
        """End a run and keep its plans, in their order, both or neither; plans that it had before are replaced.

        reason: why it ended, for people: "budget used up", "interrupted".
        finished: False keeps the plans as provisional, and the run can be resumed. True also makes a copy of the store,
        unless it is damaged: then the older copies are worth more.

        Raises StoreError if the run is unknown or finished, or if a plan is of another run or scope, or one recipe
        has two plans.
        """
        with self._writing() as db:
            run = self._unfinished(run_id)
            _check_family(run, plans)
            state = "finished" if finished else "unfinished"
            ended = run.model_copy(update={"state": state, "reason": reason, "ended_at": now()})
            _replace(db, "runs", run_row(ended), "id")
            db.table("plans").delete_where("run_id = ?", [run_id])
            for plan in plans:
                db.table("plans").insert(plan_row(plan, provisional=not finished))
        if finished:
            self._back_up()

    def keep_outcome(self, outcome: Outcome) -> None:
        """Keep what an app says of a plan; of many that ended alike, the oldest is forgotten."""
        with self._writing() as db:
            db.table("outcomes").insert(outcome_row(outcome))
            db.execute(
                "DELETE FROM outcomes WHERE plan_id = ? AND ending = ? AND kept NOT IN "
                "(SELECT kept FROM outcomes WHERE plan_id = ? AND ending = ? ORDER BY kept DESC LIMIT ?)",
                [outcome.plan_id, outcome.outcome, outcome.plan_id, outcome.outcome, OUTCOMES_KEPT],
            )

    def outcomes(self, plan_ids: Iterable[str]) -> tuple[Outcome, ...]:
        """Return what apps have said of these plans, in the order in which they said it."""
        if self._is_older_than(2):
            return ()
        sql = "SELECT * FROM outcomes WHERE +plan_id IN (SELECT value FROM json_each(?)) ORDER BY kept"
        return tuple(self._values(Outcome, sql, json.dumps(list(plan_ids))))

    def keep_job(self, job: Job) -> None:
        """Keep a job in the place of what it was before; of those that are over, the oldest are forgotten."""
        with self._writing() as db:
            _replace(db, "jobs", job_row(job), "id")
            over = [each.id for each in self.jobs() if each.is_over]
            for forgotten in over[:-JOBS_KEPT]:
                db.table("jobs").delete_where("id = ?", [forgotten])

    def jobs(self) -> tuple[Job, ...]:
        """Return the jobs, in the order in which they were asked for."""
        if self._is_older_than(3):
            return ()
        return tuple(self._values(Job, "SELECT * FROM jobs ORDER BY kept"))

    def trials(self, run_id: str) -> tuple[Trial, ...]:
        """Return the trials of a run, in the order in which they were kept."""
        return self.trials_after(run_id, 0)[0]

    def trials_after(self, run_id: str, kept: int) -> tuple[tuple[Trial, ...], int]:
        """Return the trials of a run that were kept behind a row, and the row of the last of them (or that row).

        kept: 0, or what this gave before: so whoever follows a run reads each trial once.
        """
        rows = self._rows("SELECT * FROM trials WHERE +run_id = ? AND kept > ? ORDER BY kept", run_id, kept)
        trials, damaged = values_in(rows, Trial)
        # a damaged row is deleted when its recipe is tried again, and where it was the last, its number is given anew
        return tuple(trials), max((row["kept"] for row in rows if row["kept"] not in damaged), default=kept)

    def trial(self, run_id: str, recipe: str) -> Trial | None:
        """Return the trial of a recipe, by its key, in a run; None where there is none."""
        sql = "SELECT * FROM trials WHERE run_id = ? AND recipe_key = ? ORDER BY kept"
        found = self._values(Trial, sql, run_id, recipe)
        return next((trial for trial in found if trial.recipe.key == recipe), None)

    def plans_of(self, run_id: str) -> tuple[Plan, ...]:
        """Return the plans of a run, in the order in which they were kept; provisional ones too."""
        return tuple(self._values(Plan, "SELECT * FROM plans WHERE +run_id = ? ORDER BY kept", run_id))

    def run(self, run_id: str) -> Run:
        """Return a run with its trials. Raises StoreError where there is none of this name."""
        found = self._values(Run, "SELECT * FROM runs WHERE +id = ?", run_id)
        if not found:
            raise StoreError(f"There is no run {run_id} in {self.path}, or its row is damaged.")
        return self._with_trials(found[0])

    def runs(self, model: str | None = None) -> tuple[Run, ...]:
        """Return the runs, of one model or of all, with their trials; the newest first."""
        return tuple(map(self._with_trials, self.runs_alone(model)))

    def runs_alone(self, model: str | None = None) -> tuple[Run, ...]:
        """Return the runs as `runs` does, without their trials: those are many, and take long to read."""
        return tuple(
            self._values(Run, "SELECT * FROM runs WHERE ? IS NULL OR model = ? ORDER BY kept DESC", model, model)
        )

    def trial_counts(self) -> dict[str, int]:
        """Return how many trials each run has, those that are damaged too."""
        return {row["run_id"]: row["count"] for row in self._rows(_COUNT)}

    def was_tuned(self, model: str) -> bool:
        """Return whether there is a run of a model; its trials are not read."""
        return bool(self._values(Run, "SELECT * FROM runs WHERE model = ?", model))

    def plans(
        self,
        model: str,
        *,
        machine: str | None = None,
        software: str | None = None,
        workload: Workload | None = None,
        provisional: bool = True,
    ) -> tuple[Plan, ...]:
        """Return every plan for `model` whose scope says what is asked; nothing is chosen, and none is called stale.

        machine, software: the fingerprint and the key of the probes; None is any.
        workload: None is any.
        provisional: whether to return the plans of unfinished runs too.

        Plans of one run stand together, in the order in which they were kept; first comes the run that was ended last.
        Its scope may differ from that of the next run: `Plan.run` and `Plan.scope` tell them apart.
        """
        sql = "SELECT * FROM plans WHERE model = ? AND (? OR NOT provisional) ORDER BY kept"
        found = self._values(Plan, sql, model, provisional)
        families = [tuple(family) for _, family in groupby(found, key=lambda plan: plan.run)]
        return tuple(
            plan
            for plan in chain.from_iterable(reversed(families))
            if machine in {None, plan.scope.machine}
            and software in {None, plan.scope.software}
            and workload in {None, plan.scope.workload}
        )

    def machine(self, fingerprint: str) -> Machine | None:
        """Return a machine as it was when a run was last begun on it, or None if none ever was."""
        found = self._values(Machine, "SELECT * FROM machines WHERE +fingerprint = ?", fingerprint)
        return found[0] if found else None

    def _is_older_than(self, version: int) -> bool:
        """Return whether the tables are older, as those that are only read may be."""
        if self._connection is None:
            return False
        with sentences(self.path):
            return schema_version(self._connection) < version

    def _newest_run(self, scope: Scope) -> Run | None:
        found = self._values(Run, "SELECT * FROM runs WHERE scope_key = ? ORDER BY kept DESC", scope.key)
        return self._with_trials(found[0]) if found else None

    def _unfinished(self, run_id: str) -> Run:
        found = self._values(Run, "SELECT * FROM runs WHERE +id = ?", run_id)
        if not found:
            raise StoreError(f"There is no run {run_id} in {self.path}, or its row is damaged: begin a run first.")
        if found[0].state == "finished":
            raise StoreError(f"The run {run_id} is finished, and nothing can be added to it: begin a fresh one.")
        return found[0]

    def _with_trials(self, run: Run) -> Run:
        return run.model_copy(update={"trials": self.trials(run.id)})

    def _values(self, kind: type[V], sql: str, *parameters: object) -> list[V]:
        return values_in(self._rows(sql, *parameters), kind)[0]

    def _rows(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        # a `+` before a column keeps SQLite from looking in an index, whose damage could lead to another's row
        if self._connection is None:
            return []
        with sentences(self.path):
            return self._connection.execute(sql, parameters).fetchall()

    def _damage_of(self, table: str, kind: type[Value]) -> list[str]:
        if self._connection is None:
            return []
        try:
            with sentences(self.path):  # row by row: all of them at once would take many times the memory of the file
                rows = self._connection.execute(f"SELECT * FROM {table} ORDER BY kept")  # noqa: S608  one of our own names
                damaged = [row["kept"] for row in rows if not sound(dict(row), kind)]
        except StoreError as error:
            return [str(error)]
        return [f"Row {kept} of the {table} in {self.path} is damaged: it is left out." for kept in damaged]

    def _back_up(self) -> None:
        with (
            suppress(StoreError),
            self._writing() as db,
        ):  # what was to be kept is kept; `autotune doctor` says the rest
            if not self.damage:
                back_up(self.path, schema_version(db.conn))

    def _writing(self) -> AbstractContextManager[Database]:
        if self._db is None:
            raise StoreError(f"{self.path} is closed, or open for reading only: open it with Store.open to write.")
        return writing(self._db, self.path)


def _check_family(run: Run, plans: Sequence[Plan]) -> None:
    for plan in plans:
        if plan.run != run.id or plan.scope != run.scope:
            raise StoreError(f"The plan `{plan.recipe}` is of another run or scope than the run {run.id}.")
    if len({plan.recipe.key for plan in plans}) < len(plans):
        raise StoreError(f"The plans of the run {run.id} name a recipe twice; each recipe has one plan a run.")


def _replace(db: Database, table: str, row: Row, name: str) -> None:
    """Write `row`, in the place of the one that has the same `name`, whose number it keeps."""
    db.table(table).upsert(row, pk=name)
