"""What the pages read of the store. Trials read slowly, so those of a run are read once, and then only new ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from ....errors import NoPlanError, StoreError
from ....search.plan import Plan
from ....store.album import album_of
from ....store.store import Store
from ...lived import Lived, lived
from ...pages.account import Account, account_by
from ...pages.tally import Tally
from ...spot.play import seen_of
from ...stale import between, reasons
from .views import History, ModelLine, Past, PlanPage, TrialPage

if TYPE_CHECKING:
    from ....probes.machine import Machine
    from ....store.run import Run

MOST_KEPT = 4
ReadStore = Callable[[], AbstractContextManager[Store]]


@dataclass
class _Reading:
    """What was read of a run up to the row `last`, and what was told of it in which state."""

    tally: Tally
    last: int = 0
    state: str = ""
    told: Account | None = None


class Ledger:
    """Answers from the store, which is opened anew for each question: it belongs to one thread."""

    def __init__(self, read_store: ReadStore) -> None:
        """Take what opens the store."""
        self._read_store = read_store
        self._readings: dict[tuple[str, int], _Reading] = {}
        self._lock = Lock()

    def models(self) -> tuple[ModelLine, ...]:
        """Return what was tuned, the last first."""
        with self._read_store() as store:
            counts = store.trial_counts()
            by_model: dict[str, list[Run]] = {}
            for run in store.runs_alone():
                by_model.setdefault(run.scope.model, []).append(run)
            return tuple(_line(model, runs, counts, store) for model, runs in by_model.items())

    def account(self, model: str, run: str = "") -> Account:
        """Return what is to be told of a run of a model, the newest where none is named. Raises NoPlanError."""
        with self._read_store() as store:
            runs = [each for each in store.runs_alone(model) if run in {"", each.id}]
            if not runs:
                msg = f"{model} was never tuned here: `autotune --model {model}` does."
                raise NoPlanError(msg if not run else f"There is no run {run} of {model}.")
            return self._account(store, runs[0])

    def run(self, run: str) -> Account:
        """Return what is to be told of a run, of whatever model. Raises NoPlanError."""
        with self._read_store() as store:
            found = next((each for each in store.runs_alone() if each.id == run), None)
            if found is None:
                msg = f"There is no run {run} here."
                raise NoPlanError(msg)
            return self._account(store, found)

    def model_of(self, run: str) -> str:
        """Return the model that a run is of; nothing where there is no such run."""
        with self._read_store() as store:
            return next((each.scope.model for each in store.runs_alone() if each.id == run), "")

    def read_ahead(self) -> None:
        """Read what is likely to be asked for next: the newest runs of the models that were tuned last."""
        with suppress(StoreError), self._read_store() as store:
            newest: dict[str, Run] = {}
            for run in store.runs_alone():
                newest.setdefault(run.scope.model, run)
            for run in [*newest.values()][:MOST_KEPT]:
                self._account(store, run)

    def _account(self, store: Store, run: Run) -> Account:
        plans = store.plans_of(run.id)
        seen = seen_of(plans)
        state = f"{run.ended_at} {seen and seen.sets}"
        with self._lock:  # who asks for what is being read just now waits for it, and does not read it too
            name = run.id, _file(store)
            known = self._readings.pop(name, None) or _Reading(Tally(run.scope.tolerance))
            trials, known.last = store.trials_after(run.id, known.last)
            known.tally.add(trials)
            if trials or state != known.state or known.told is None:
                known.told = account_by(known.tally, run, plans, store.machine(run.scope.machine), seen)
                known.state = state
            kept = [*self._readings.items()][1 - MOST_KEPT :]
            self._readings = dict([*kept, (name, known)])
            return known.told

    def trial(self, model: str, run: str, number: int) -> TrialPage:
        """Return a trial of a run. Raises NoPlanError."""
        with self._read_store() as store:
            found = next((each for each in store.runs_alone(model) if each.id == run), None)
            told = self._account(store, found) if found else None
            dot = next((each for each in told.dots if each.number == number), None) if told else None
            if found is None or told is None or dot is None:
                msg = f"There is no trial {number} of the run {run} of {model}."
                raise NoPlanError(msg)
            trial = store.trial(run, dot.recipe)
        if trial is None:
            msg = f"The trial {number} of the run {run} is damaged."
            raise NoPlanError(msg)
        album, baseline = album_of(run), told.baseline.recipe if told.baseline else ""
        return TrialPage(
            model=model,
            run=run,
            dot=dot,
            trial=trial,
            baseline=baseline,
            pictures=tuple(album.of(dot.recipe).values()),
            baseline_pictures=tuple(album.of(baseline).values()),
        )

    def plan(self, plan_id: str, now: Machine | None) -> PlanPage:
        """Return a plan with its evidence. now: the machine, to say what has changed. Raises NoPlanError."""
        with self._read_store() as store:
            models = dict.fromkeys(run.scope.model for run in store.runs_alone())
            plan = next((plan for model in models for plan in store.plans(model) if plan.id == plan_id), None)
            if plan is None:
                msg = f"There is no plan {plan_id} here: its model may have been tuned anew."
                raise NoPlanError(msg)
            before = store.machine(plan.scope.machine)
            life = lived(store.outcomes([plan_id])).get(plan_id, Lived())
            run = next(each for each in store.runs_alone(plan.scope.model) if each.id == plan.run)
            trial = store.trial(plan.run, plan.recipe.key)
        machine = run.machine or before
        return PlanPage(
            id=plan_id,
            plan=plan,
            number=trial.number if trial else None,
            stale_reasons=tuple(reasons(plan, now, None, machine)) if now else (),
            demoted=life.demoted,
            eyes=seen_of((plan,)),
            machine=machine,
        )

    def history(self, model: str) -> History:
        """Return the runs of a model, the newest first. Raises NoPlanError."""
        with self._read_store() as store:
            runs, counts = store.runs_alone(model), store.trial_counts()
            plans = {run.id: store.plans_of(run.id) for run in runs}
        if not runs:
            msg = f"{model} was never tuned here: `autotune --model {model}` does."
            raise NoPlanError(msg)
        older = [*runs[1:], None]
        return History(
            model=model,
            runs=tuple(
                _past(run, before, counts.get(run.id, 0), plans[run.id][0] if plans[run.id] else None)
                for run, before in zip(runs, older, strict=True)
            ),
        )


def _file(store: Store) -> int:
    """Return which file the store is: a repair puts another in its place, whose rows have other numbers."""
    with suppress(OSError):
        return store.path.stat().st_ino
    return 0


def _line(model: str, runs: list[Run], counts: dict[str, int], store: Store) -> ModelLine:
    newest, *_ = runs
    plans = store.plans_of(newest.id)
    return ModelLine(
        model=model,
        runs=len(runs),
        trials=sum(counts.get(run.id, 0) for run in runs),
        state=newest.state,
        started_at=newest.started_at,
        reason=newest.reason,
        plan=plans[0] if plans else None,
    )


def _past(run: Run, before: Run | None, trials: int, plan: Plan | None) -> Past:
    return Past(
        run=run.id,
        started_at=run.started_at,
        state=run.state,
        reason=run.reason,
        trials=trials,
        workload=str(run.scope.workload),
        device=run.scope.device,
        machine=run.machine,
        changes=tuple(_changes(before, run)) if before else (),
        plan=plan,
    )


def _changes(before: Run, after: Run) -> list[str]:
    """Return what has changed from one run to the next."""
    changes: list[str] = []
    if before.machine and after.machine:
        changes += between(before.machine, after.machine)
    elif before.scope.software != after.scope.software:
        changes.append(f"software {before.scope.software} -> {after.scope.software}")
    if before.scope.revision != after.scope.revision:
        changes.append(f"model revision {before.scope.revision} -> {after.scope.revision}")
    if before.scope.workload != after.scope.workload:
        changes.append(f"call {before.scope.workload} -> {after.scope.workload}")
    return changes
