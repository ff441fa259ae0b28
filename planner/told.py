"""What happens in a tuning as JSON: for `--json`, and for whoever follows a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..search.measured import Trial
from ..search.recipe import Recipe
from .tune import Fetching, Prepared, Unpacking

if TYPE_CHECKING:
    from .tune import Event, Result


def told(event: Event) -> dict[str, Any]:
    """Return an event as a document whose `event` says which kind it is."""
    if isinstance(event, Fetching | Unpacking):
        name = "fetch" if isinstance(event, Fetching) else "unpack"
        return {"event": name, "model": event.model, "done_bytes": event.done_bytes, "total_bytes": event.total_bytes}
    if isinstance(event, Prepared):
        return {
            "event": "prepared",
            "run": event.run.id,
            "state": event.run.state,
            "trials": len(event.run.trials),
            "scope": event.task.scope.model_dump(mode="json"),
            "budget_s": event.budget_s,
            "recipes": event.space.size,
        }
    if isinstance(event, Trial):
        return {"event": "trial_end", "trial": event.model_dump(mode="json")}
    if isinstance(event, Recipe):
        return {"event": "trial_start", "recipe": event.turned}
    return {"event": "race", "recipes": [recipe.turned for recipe in event.recipes]}


def told_result(result: Result) -> dict[str, Any]:
    """Return the last event: how it ended, and the plans, the winner first."""
    plan = result.plan.model_dump(mode="json") if result.plan else None
    family = [plan.model_dump(mode="json") for plan in result.plans]
    return {
        "event": "done",
        "reason": result.reason,
        "state": result.run.state,
        "interrupted": result.interrupted,
        "plan": plan,
        "plans": family,
    }
