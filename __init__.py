"""autotune: the fastest way to run a diffusers pipeline on this machine, found by measuring.

    pipe = autotune.load("flux-dev")      a pipeline with the best plan for now applied
    pipe = autotune.apply(pipe, plan)     a plan, as far as it can be, for a pipeline that is loaded already
    plan = autotune.plan("flux-dev")      the plan alone
    autotune.report(plan.plan.id, "ok")   what became of it
    autotune.tune("flux-dev")             measure, and keep what was found
    autotune.Client()                     the daemon, asked by hand; autotune.AsyncClient() where that is awaited
    autotune.Plan                         what all of them speak of

Importing this package imports nothing else: each name is fetched when it is first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .planner.aclient import AsyncClient
    from .planner.applying import apply
    from .planner.client import Client, plan, report
    from .planner.load import load
    from .planner.tune import tune
    from .search.plan import Plan

__all__ = ["AsyncClient", "Client", "Plan", "apply", "load", "plan", "report", "tune"]

_MODULES = {
    "AsyncClient": ".planner.aclient",
    "Client": ".planner.client",
    "Plan": ".search.plan",
    "apply": ".planner.applying",
    "load": ".planner.load",
    "plan": ".planner.client",
    "report": ".planner.client",
    "tune": ".planner.tune",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(_MODULES[name], __name__), name)
    globals()[name] = value  # so that this is asked once
    return value


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
