"""Two tunings side by side: of two machines, two dates, two versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ..errors import NoPlanError, UsageError
from ..store.store import Store
from ..value import Value
from .choose import said_bytes
from .pages.account import Account, account_of
from .pages.wording import said_share, said_times
from .said import said_ms
from .spot.play import seen_of
from .stale import between

if TYPE_CHECKING:
    from ..store.run import Run

MOST_BYTES = 64 * 2**20
LEAST_PREFIX = 8


class Row(Value):
    """Something that both have, as it is said to people; `factor` is b over a, None where that means nothing."""

    name: str
    a: str
    b: str
    factor: float | None = None


class Comparison(Value):
    """Two tunings: what differs between their machines and software, their figures, and what both have tried.

    `both` has the latency of each recipe that ran in both.
    """

    schema_version: int = 1
    a: str
    b: str
    differences: tuple[str, ...]
    rows: tuple[Row, ...]
    both: tuple[Row, ...]


def compare(a: str, b: str) -> Comparison:
    """Return two tunings beside each other. Each is named by `tuning_named`."""
    return compared(tuning_named(a), tuning_named(b))


def tuning_named(text: str) -> Account:
    """Return the tuning that is meant: a file that `autotune report --json` wrote, here or on another machine; a run by
    its name, or the beginning of it; or the newest of a model.

    Raises UsageError for a file that says no tuning, and NoPlanError and ModelError where there is none.
    """
    from .pages.report import account  # it knows models by name, which the daemon need not

    if Path(text).is_file():
        return _read(Path(text))
    with Store.read() as store:
        found = [run for run in store.runs_alone() if len(text) >= LEAST_PREFIX and run.id.startswith(text)]
        if len(found) > 1:
            msg = f"{len(found)} runs begin with {text}: write more of the one that is meant."
            raise UsageError(msg)
        return _told(store, found[0]) if found else account(text)


def compared(a: Account, b: Account) -> Comparison:
    """Return two tunings beside each other."""
    first, second = ({dot.recipe: dot.latency_ms for dot in each.dots if dot.outcome == "ok"} for each in (a, b))
    shared = [recipe for recipe in first if first[recipe] and second.get(recipe)]
    both = [_latency(recipe, first[recipe], second[recipe]) for recipe in shared]
    return Comparison(
        a=_called(a),
        b=_called(b),
        differences=tuple(_differences(a, b)),
        rows=tuple(_rows(a, b)),
        both=tuple(sorted(both, key=lambda row: row.factor or 0.0)),
    )


def _read(file: Path) -> Account:
    try:
        with file.open("rb") as opened:
            return Account.model_validate_json(opened.read(MOST_BYTES))
    except (OSError, ValidationError) as error:
        msg = f"{file} is no tuning as `autotune report MODEL --json` writes it."
        raise UsageError(msg) from error


def _told(store: Store, run: Run) -> Account:
    whole = run.model_copy(update={"trials": store.trials(run.id)})
    if not whole.trials:
        msg = f"Nothing was tried in the run {run.id}."
        raise NoPlanError(msg)
    plans = store.plans_of(run.id)
    return account_of(whole, plans, store.machine(run.scope.machine), seen_of(plans))


def _called(told: Account) -> str:
    return f"{told.model}, {told.started_at[:16].replace('T', ' ')}"


def _differences(a: Account, b: Account) -> list[str]:
    """Return what is not the same, beside the figures."""
    found = list(between(a.machine, b.machine)) if a.machine and b.machine else []
    said = (("model", a.model, b.model), ("revision", a.scope.revision, b.scope.revision))
    called = (("call", a.scope.workload, b.scope.workload), ("device", a.scope.device, b.scope.device))
    return found + [f"{name} {one} -> {other}" for name, one, other in (*said, *called) if one != other]


def _rows(a: Account, b: Account) -> list[Row]:
    ours, theirs = a.baseline, b.baseline
    rows = [Row(name="trials", a=str(len(a.dots)), b=str(len(b.dots)))]
    if ours and theirs:
        rows.append(_latency("latency of the baseline", ours.latency_ms, theirs.latency_ms))
    if not (a.plan and b.plan):
        one, other = (told.plan.recipe.key if told.plan else "none" for told in (a, b))
        return [*rows, Row(name="plan", a=one, b=other)]
    ours_plan, theirs_plan = a.plan, b.plan
    memory = ours_plan.peak_memory_bytes, theirs_plan.peak_memory_bytes
    return [
        *rows,
        Row(name="plan", a=ours_plan.recipe.key, b=theirs_plan.recipe.key),
        _latency("latency of the plan", ours_plan.latency.median_ms, theirs_plan.latency.median_ms),
        Row(name="faster than its baseline", a=said_times(ours_plan.speedup), b=said_times(theirs_plan.speedup)),
        Row(name="peak memory", a=said_bytes(memory[0]), b=said_bytes(memory[1]), factor=memory[1] / max(1, memory[0])),
        Row(name="CLIP score kept", a=_quality(a), b=_quality(b)),
    ]


def _latency(name: str, one: float | None, other: float | None) -> Row:
    if not one or not other:
        return Row(name=name, a="not measured", b="not measured")
    return Row(name=name, a=said_ms(one), b=said_ms(other), factor=other / one)


def _quality(told: Account) -> str:
    quality = told.plan.quality if told.plan else None
    return said_share(quality.mean / quality.baseline_mean) if quality and quality.baseline_mean else "not measured"
