"""What an app says of its plan is kept, and it is told what follows. By the daemon, or by the app where none lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import NoPlanError
from ...store.outcome import Outcome
from ...store.run import new_id, now
from ..choose import needs_bytes
from ..lived import Lived, lived
from .ask import models_in
from .wire import Report, Reported

if TYPE_CHECKING:
    from ...search.plan import Plan
    from ...store.store import Store


def keep_report(store: Store, plan_id: str, report: Report) -> Reported:
    """Keep a report, and return what follows from it. The store must be open for writing.

    Raises NoPlanError if there is no such plan: also where its model was tuned anew and has others now.
    """
    plan = _plan(store, plan_id)
    if plan is None:
        msg = f"There is no plan {plan_id} here: its model may have been tuned anew, so ask for the plan again."
        raise NoPlanError(msg)
    outcome = Outcome(id=new_id(), plan_id=plan_id, reported_at=now(), **report.model_dump())
    store.keep_outcome(outcome)
    life = lived(store.outcomes([plan_id])).get(plan_id, Lived())
    return Reported(id=outcome.id, plan_id=plan_id, demoted=life.demoted, needs_bytes=needs_bytes(plan, life))


def _plan(store: Store, plan_id: str) -> Plan | None:
    return next((plan for model in models_in(store) for plan in store.plans(model) if plan.id == plan_id), None)
