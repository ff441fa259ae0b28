"""Plain values for the tests of the store: one machine, one scope, and trials and plans by number."""

from __future__ import annotations

from autotune.probes.cpu import Cpu
from autotune.probes.machine import Machine
from autotune.probes.memory import Memory
from autotune.probes.software import Software
from autotune.search.measured import Latency, Quality, Trial
from autotune.search.plan import Plan, Scope
from autotune.search.recipe import Recipe
from autotune.search.workload import Workload

MACHINE = Machine(
    cpu=Cpu(
        model_name="AMD EPYC",
        architecture="x86_64",
        allowed_cores=4,
        physical_cores=4,
        logical_cores=8,
        features=("avx2", "avx512f"),
    ),
    memory=Memory(total_bytes=8 * 2**30, free_bytes=5 * 2**30),
    accelerators=(),
    software=Software(python="3.11.7", os="Debian GNU/Linux 12", versions={"torch": "2.13.0", "diffusers": "0.42.1"}),
    notes=(),
)
WORKLOAD = Workload(width=128, height=128, steps=20, guidance=4.0)
SCOPE = Scope(
    model="shapes",
    revision="0123456789abcdef",
    machine=MACHINE.fingerprint,
    software=MACHINE.software.key,
    device="cpu",
    workload=WORKLOAD,
    scorer="fedcba9876543210",
    prompts="00112233445566ff",
    tolerance=0.01,
)


def recipe(number: int) -> Recipe:
    """Return the recipe of this number; 0 is the unmodified pipeline."""
    return Recipe(turned={"threads": number} if number else {})


def trial(number: int) -> Trial:
    """Return a trial that went well."""
    return Trial(
        number=number,
        recipe=recipe(number),
        outcome="ok",
        latency=Latency(samples_ms=(1000.0 + number, 1001.5 + number)),
        load_s=0.25,
        cold_s=1.5,
        peak_memory_bytes=500_000_000 + number,
        quality=Quality(scorer="fedcba9876543210", scores=(30.5, 31.25), baseline_scores=(30.75, 31.0), bound=-0.125),
        started_at="2026-01-01T12:00:00+00:00",
        duration_s=12.5,
    )


def plan(number: int, run_id: str, scope: Scope = SCOPE) -> Plan:
    """Return a plan with the recipe of this number."""
    return Plan(
        scope=scope,
        recipe=recipe(number),
        latency=Latency(samples_ms=(1000.0 + number,)),
        baseline_latency=Latency(samples_ms=(2000.0,)),
        speedup=2.0,
        speedup_low=1.9,
        speedup_high=2.1,
        raced=True,
        load_s=0.25,
        cold_s=1.5,
        peak_memory_bytes=500_000_000 + number,
        baseline_peak_memory_bytes=600_000_000,
        quality=None,
        run=run_id,
        created_at="2026-01-01T12:30:00+00:00",
    )
