"""What a sweep found, as one table: machine by model, who wins where, what it costs, and what has become worse."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from ...errors import NoPlanError
from ...store.store import Store
from ...value import Value
from .journal import Entry, Journal, journals
from .places import sweeps_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...search.measured import Trial
    from ...search.plan import Plan
    from ...store.run import Run

WORSE = 1.05
"""A plan that takes more times as long as in the older sweep is told; machines differ by less from day to day."""


class Row(Value):
    """One job of the matrix. What was not measured, or is not known, is None.

    quality: the share of the baseline's CLIP score; energy_j: of an image, where energy was the objective; cost: of
    1000 images, in the money of the lab's price per hour; before: how many times as long it takes as in the older
    sweep, baseline_before: the same of the baseline, by which a slower machine is told from a worse plan. doubts: what
    went on beside the measurements. carried: of the recipes of a like machine, how many were tried, ran, and whether
    the plan is one of them.
    """

    machine: str
    kind: str
    job: str
    model: str
    state: str
    note: str
    trials: int = 0
    failed: int = 0
    recipe: str = ""
    latency_ms: float | None = None
    baseline_ms: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    peak_bytes: int | None = None
    quality: float | None = None
    energy_j: float | None = None
    cost: float | None = None
    before: float | None = None
    baseline_before: float | None = None
    doubts: str = ""
    carried: str = ""
    best: bool = False

    @property
    def title(self) -> str:
        """The job without its machine."""
        return self.job.rpartition(" on ")[0]

    @property
    def said_worse(self) -> str:
        """What there is to say of a plan that takes longer than in the older sweep, behind how many times as long."""
        if not self.baseline_before:
            return self.doubts
        as_long = self.before and abs(math.log(self.before / self.baseline_before)) < math.log(WORSE)
        blame = ", so it is the machine that is slower" if as_long else ""
        return f"The baseline takes {self.baseline_before:.2f} times as long{blame}. {self.doubts}".strip()


class Told(Value):
    """A sweep, to be told.

    shared: of each job that machines shared, who tried how much, and who is slower; happened: in the order in which it
    did, what is not a job's own success.
    """

    name: str
    started_at: str
    ended: bool
    machines: tuple[str, ...]
    rows: tuple[Row, ...]
    happened: tuple[str, ...]
    shared: tuple[str, ...] = ()
    older: str = ""

    @property
    def worse(self) -> tuple[Row, ...]:
        """The rows that have become slower."""
        return tuple(row for row in self.rows if row.before and row.before > WORSE)

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        done = sum(row.state == "finished" for row in self.rows)
        plans = sum(bool(row.recipe) for row in self.rows)
        end = "" if self.ended else ", and the sweep has not ended: the same command goes on"
        return f"{self.name}: {done} of {len(self.rows)} jobs have finished, {plans} with a plan{end}."


def newest(name: str = "") -> list[Journal]:
    """Return the sweeps of a name, or of the name of the newest, the newest first. Raises NoPlanError for none."""
    found = list(journals(sweeps_folder()))
    name = name or (found[0].opening.lab.name if found else "")
    named = [journal for journal in found if journal.opening.lab.name == name]
    if not named:
        msg = f"There is no sweep{f' named {name}' if name else ''} here yet: `autotune sweep lab.toml` does one."
        raise NoPlanError(msg)
    return named


def told(journal: Journal, store: Store, older: Journal | None = None) -> Told:
    """Return what is to be told of a sweep. older: one to compare with."""
    rows = [_row(journal, job, store) for job in journal.jobs]
    if older:
        rows = _beside(rows, told(older, store).rows)
    return Told(
        name=journal.opening.lab.name,
        started_at=journal.opening.at,
        ended=journal.ended,
        machines=tuple(dict.fromkeys(each.note for each in journal.entries if not each.job and each.machine)),
        rows=tuple(sorted(_with_winners(rows), key=lambda row: (row.model, row.job))),
        happened=tuple(_happened(journal)),
        shared=tuple(filter(None, (_shared(journal.of(job)) for job in journal.jobs))),
        older=older.opening.at if older else "",
    )


def _beside(rows: Sequence[Row], older: Sequence[Row]) -> list[Row]:
    """Return rows that say what has become of them; with other software a machine is of another kind, yet itself."""
    before = {name: row for row in older for name in (row.job, (row.title, row.machine)) if row.latency_ms}
    found = ((row, before.get(row.job) or before.get((row.title, row.machine))) for row in rows)
    return [row.model_copy(update=_times(row, was)) if was else row for row, was in found]


def _times(row: Row, was: Row) -> dict[str, float]:
    """Return how many times as long as in the older sweep the plan and the baseline take."""
    pairs = {"before": (row.latency_ms, was.latency_ms), "baseline_before": (row.baseline_ms, was.baseline_ms)}
    return {name: now / then for name, (now, then) in pairs.items() if now and then}


def _row(journal: Journal, job: str, store: Store) -> Row:
    last = journal.jobs[job]
    named = [entry.run for entry in journal.of(job) if entry.run]
    run = store.run(named[-1]) if named else None
    plans = store.plans_of(run.id) if run else ()
    plan = plans[0] if plans else None
    trials = run.trials if run else ()
    title, _, kind = job.rpartition(" on ")
    row = Row(
        machine=last.machine,
        kind=kind,
        job=job,
        model=title.partition(", ")[0],
        state=last.state or "",
        note=last.note,
        trials=len(trials),
        failed=sum(trial.outcome not in {"ok", "slow"} for trial in trials),
        carried=_carried(journal, job, run, plan),
    )
    return row.model_copy(update=_figures(plan, trials, _price(journal, last.machine))) if plan else row


def _figures(plan: Plan, trials: Sequence[Trial], price: float | None) -> dict[str, object]:
    quality, latency_ms = plan.quality, plan.latency.median_ms
    joules = [trial.cost for trial in trials if trial.recipe == plan.recipe and plan.scope.objective == "energy"]
    an_image_h = latency_ms / 3.6e6 / plan.scope.workload.batch
    return {
        "recipe": plan.recipe.key,
        "latency_ms": latency_ms,
        "baseline_ms": plan.baseline_latency.median_ms,
        "speedup": plan.speedup,
        "speedup_low": plan.speedup_low,
        "peak_bytes": plan.peak_memory_bytes,
        "quality": quality.mean / quality.baseline_mean if quality and quality.baseline_mean else None,
        "energy_j": joules[0] / plan.scope.workload.batch if joules else None,
        "cost": 1000 * an_image_h * price if price is not None else None,
        "doubts": " ".join(plan.notes),
    }


def _price(journal: Journal, machine: str) -> float | None:
    """Return what an hour of a machine costs: the price of the entry by which it was chosen."""
    priced = {entry.machine: entry.price for entry in journal.entries if not entry.job and entry.machine}
    return priced.get(machine)


def _with_winners(rows: Sequence[Row]) -> list[Row]:
    """Mark the fastest machine of each job's title."""
    best: dict[str, float] = {}
    for row in rows:
        if row.latency_ms is not None:
            best[row.title] = min(row.latency_ms, best.get(row.title, row.latency_ms))
    return [row.model_copy(update={"best": row.latency_ms == best.get(row.title, -1)}) for row in rows]


def _carried(journal: Journal, job: str, run: Run | None, plan: Plan | None) -> str:
    entry = next((entry for entry in journal.of(job) if entry.carried), None)
    if entry is None or run is None:
        return ""
    tried = {trial.recipe.key: trial.outcome for trial in run.trials}
    ran = [key for key in entry.carried if tried.get(key) == "ok"]
    not_tried = [key for key in entry.carried if key not in tried]
    won = "; the plan is one of them" if plan and plan.recipe.key in entry.carried else ""
    missing = f", {len(not_tried)} not possible or not tried here" if not_tried else ""
    return f"{len(ran)} of {len(entry.carried)} recipes of {entry.like} ran{missing}{won}"


def _shared(entries: Sequence[Entry]) -> str:
    """Say who tried how many recipes of a job, where machines shared it, and how long they took beside the baseline."""
    if not any(entry.helps for entry in entries):
        return ""
    parts = []
    for machine in dict.fromkeys(entry.machine for entry in entries if entry.tried):
        own = [entry for entry in entries if entry.machine == machine and entry.tried]
        pace = statistics.median(entry.pace for entry in own)
        slower = f" (there all takes {pace:.2f} times as long)" if pace != 1 else ""
        parts.append(f"{machine} tried {sum(entry.tried for entry in own)}{slower}")
    return f"{entries[0].job.rpartition(' on ')[0]}: {', '.join(parts)}"


def _happened(journal: Journal) -> list[str]:
    """Return what went otherwise than planned, and where something went on."""
    odd = (
        entry
        for entry in journal.entries
        if entry.state in {"failed", "given up"} or entry.note.startswith("goes on") or not (entry.job or entry.machine)
    )
    return [": ".join(filter(None, (entry.at[11:19], entry.machine, entry.job, entry.note))) for entry in odd]
