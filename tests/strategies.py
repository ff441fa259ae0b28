"""Any value of ours, for tests that must hold for all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

from hypothesis import strategies as st

from autotune.probes.accelerators import Accelerator
from autotune.probes.cpu import FEATURES, Cpu
from autotune.probes.machine import Machine
from autotune.probes.memory import Memory
from autotune.probes.software import DISTRIBUTIONS, Software
from autotune.search.fidelity import TIERS
from autotune.search.measured import Latency, Outcome, Quality, Trial, Worst
from autotune.search.plan import Gain, Plan, Scope
from autotune.search.recipe import Recipe
from autotune.search.witness import Kind, Witness
from autotune.search.workload import Workload
from autotune.value import key_of

NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
WORDS = st.text(max_size=20)  # anything: quotes, newlines, NUL, right to left
KEYS = st.integers(0).map(key_of)
SHARES = st.floats(0, 1)
MILLISECONDS = st.floats(1e-3, 1e7)
SECONDS = st.floats(0, 1e5)
BYTES = st.integers(0, 2**45)
SCORES = st.floats(0, 100)
MOMENTS = st.integers(0, 10**9).map(lambda s: (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s)).isoformat())


def recipes() -> st.SearchStrategy[Recipe]:
    """Recipes of up to four knobs, of which the names and choices are made up."""
    choices = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), WORDS)
    return st.builds(Recipe, turned=st.dictionaries(NAMES, choices, max_size=4))


def workloads() -> st.SearchStrategy[Workload]:
    """Workloads of any size."""
    pixels, few = st.integers(8, 8192), st.integers(1, 100)
    return st.builds(
        Workload, width=pixels, height=pixels, steps=few, guidance=st.floats(0, 100), batch=few, frames=few
    )


def latencies() -> st.SearchStrategy[Latency]:
    """Latencies of one to five calls."""
    return st.builds(Latency, samples_ms=st.lists(MILLISECONDS, min_size=1, max_size=5).map(tuple))


@st.composite
def qualities(draw: st.DrawFn) -> Quality:
    """Scores of one to four prompts."""
    pairs = draw(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=4))
    scores, baseline_scores = zip(*pairs, strict=True)
    return Quality(
        scorer=draw(KEYS),
        scores=scores,
        baseline_scores=baseline_scores,
        bound=draw(st.floats(-100, 100)),
        worst=draw(st.lists(st.builds(Worst, difference=SCORES), max_size=3).map(tuple)),
        likeness=draw(st.lists(st.floats(-1, 1), max_size=len(pairs)).map(tuple)),
        psnr=draw(st.lists(st.floats(0, 100), max_size=len(pairs)).map(tuple)),
        fidelity=draw(st.sampled_from(["", *TIERS])),
        witnesses=draw(st.lists(witnesses(), max_size=2).map(tuple)),
    )


@st.composite
def witnesses(draw: st.DrawFn) -> Witness:
    """What a further model says of one to four images."""
    pairs = draw(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=4))
    figures, baseline_figures = zip(*pairs, strict=True)
    kind = draw(st.sampled_from(get_args(Kind)))
    return Witness(model=draw(KEYS), kind=kind, figures=figures, baseline_figures=baseline_figures)


def trials() -> st.SearchStrategy[Trial]:
    """Trials of every outcome; what was measured need not go with it."""
    return st.builds(
        Trial,
        number=st.integers(0, 10**6),
        recipe=recipes(),
        outcome=st.sampled_from(get_args(Outcome)),
        detail=WORDS,
        latency=st.none() | latencies(),
        load_s=st.none() | SECONDS,
        cold_s=st.none() | SECONDS,
        peak_memory_bytes=st.none() | BYTES,
        quality=st.none() | qualities(),
        started_at=MOMENTS,
        duration_s=SECONDS,
    )


def scopes() -> st.SearchStrategy[Scope]:
    """Scopes of any model, machine and workload."""
    return st.builds(
        Scope,
        model=WORDS,
        revision=KEYS,
        machine=KEYS,
        software=KEYS,
        device=st.sampled_from(("cpu", "cuda", "xpu", "mps")),
        workload=workloads(),
        scorer=st.just("") | KEYS,
        prompts=KEYS,
        tolerance=SHARES,
        adapters=st.lists(KEYS, max_size=2).map(tuple),
        distilled=st.lists(KEYS, max_size=2).map(tuple),
    )


def plans() -> st.SearchStrategy[Plan]:
    """Plans of any scope."""
    gains = st.builds(Gain, knob=NAMES, choice=WORDS, slowdown_without=st.none() | SECONDS, note=WORDS)
    speedups = st.floats(1e-3, 1e3)
    return st.builds(
        Plan,
        scope=scopes(),
        recipe=recipes(),
        latency=latencies(),
        baseline_latency=latencies(),
        speedup=speedups,
        speedup_low=speedups,
        speedup_high=speedups,
        raced=st.booleans(),
        load_s=SECONDS,
        cold_s=SECONDS,
        peak_memory_bytes=BYTES,
        baseline_peak_memory_bytes=BYTES,
        quality=st.none() | qualities(),
        gains=st.lists(gains, max_size=3).map(tuple),
        known=st.sampled_from(("measured", "borrowed", "predicted")),
        run=st.uuids(version=4).map(str),
        created_at=MOMENTS,
    )


def machines() -> st.SearchStrategy[Machine]:
    """Machines with up to two GPUs."""
    cores = st.integers(1, 256)
    cpus = st.builds(
        Cpu,
        model_name=WORDS,
        architecture=st.sampled_from(("x86_64", "aarch64", "arm64")),
        allowed_cores=cores,
        physical_cores=st.none() | cores,
        logical_cores=cores,
        features=st.sets(st.sampled_from(sorted(FEATURES))).map(sorted).map(tuple),
    )
    accelerators = st.builds(
        Accelerator,
        kind=st.sampled_from(("cuda", "rocm", "xpu", "mps")),
        index=st.integers(0, 7),
        name=WORDS,
        uuid_hash=st.none() | KEYS,
        total_bytes=BYTES,
        free_bytes=st.none() | BYTES,
        compute_capability=st.none() | st.tuples(st.integers(3, 12), st.integers(0, 9)),
        driver=st.none() | WORDS,
        mig=st.booleans(),
        unified_memory=st.booleans(),
    )
    versions = st.dictionaries(st.sampled_from(sorted(DISTRIBUTIONS)), WORDS, max_size=4)
    return st.builds(
        Machine,
        cpu=cpus,
        memory=st.builds(Memory, total_bytes=BYTES, free_bytes=BYTES),
        accelerators=st.lists(accelerators, max_size=2).map(tuple),
        software=st.builds(Software, python=WORDS, os=WORDS, versions=versions),
        notes=st.lists(WORDS, max_size=2).map(tuple),
    )
