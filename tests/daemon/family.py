"""A machine, plans for it, and a store that keeps them: what the questions in these tests are about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune.probes.accelerators import Accelerator
from autotune.probes.machine import Machine
from autotune.probes.memory import Memory
from autotune.search.measured import Latency
from autotune.search.plan import Plan, Scope
from autotune.search.recipe import Recipe
from autotune.search.workload import Workload
from autotune.store.store import Store
from autotune.tests.store import samples

GIB = 2**30
MIB = 2**20

MACHINE = samples.MACHINE.model_copy(
    update={
        "memory": Memory(total_bytes=64 * GIB, free_bytes=32 * GIB),
        "accelerators": (
            Accelerator(
                kind="cuda",
                index=0,
                name="A100",
                uuid_hash="0123456789abcdef",
                total_bytes=80 * GIB,
                free_bytes=70 * GIB,
                compute_capability=(8, 0),
                driver="550.54",
            ),
        ),
    }
)
WORKLOAD = Workload(width=128, height=128, steps=20, guidance=4.0)


def plan_of(
    precision: str = "bf16", *, ms: float = 100.0, peak_bytes: int = GIB, run: str = "run", **scope: Any
) -> Plan:
    """Return a plan of one knob; `scope` is what differs from the usual one."""
    usual = {
        "model": "shapes",
        "revision": "0123",
        "machine": MACHINE.fingerprint,
        "software": MACHINE.software.key,
        "device": "cpu",
        "workload": WORKLOAD,
        "scorer": "",
        "prompts": "four",
        "tolerance": 0.01,
    }
    return Plan(
        scope=Scope(**{**usual, **scope}),
        recipe=Recipe(turned={"precision": precision}),
        latency=Latency(samples_ms=(ms,)),
        baseline_latency=Latency(samples_ms=(200.0,)),
        speedup=200.0 / ms,
        speedup_low=190.0 / ms,
        speedup_high=210.0 / ms,
        raced=True,
        load_s=1.0,
        cold_s=2.0,
        peak_memory_bytes=peak_bytes,
        baseline_peak_memory_bytes=2 * GIB,
        quality=None,
        run=run,
        created_at="2026-11-22T12:00:00+00:00",
    )


FAST = plan_of("bf16", ms=50.0, peak_bytes=4 * GIB)
MIDDLE = plan_of("int8", ms=80.0, peak_bytes=2 * GIB)
SMALL = plan_of("int4", ms=120.0, peak_bytes=GIB)
FAMILY = (FAST, MIDDLE, SMALL)


def keep(
    plans: Sequence[Plan] = FAMILY, machine: Machine = MACHINE, path: Path | None = None, *, finished: bool = True
) -> None:
    """Keep plans of one scope in a store, as the plans of a new run."""
    with Store.open(path) as store:
        run = store.begin_run(plans[0].scope, machine, fresh=True)
        own = [plan.model_copy(update={"run": run.id}) for plan in plans]
        store.finish_run(run.id, "the budget was used", own, finished=finished)


def keep_nothing(model: str, *, finished: bool) -> None:
    """Keep a run for `model` that found no plan."""
    with Store.open() as store:
        run = store.begin_run(plan_of(model=model).scope, MACHINE, fresh=True)
        store.finish_run(run.id, "the budget was used", [], finished=finished)
