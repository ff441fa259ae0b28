"""The parts of benchmarks/gpu.py: each asks one question, and yields what it has found, as values that JSON has.

A part is given what it found the last time, and goes on from there. It yields all that it has found whenever there is
more, so that little is lost where it is killed. `done` says that nothing is left of it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compile_cache import first_calls
from gpu_subjects import CARDS_GIB, FLUX, SD15, SDXL, Step, Subject
from ladder import possible

from autotune.errors import UnfitError
from autotune.planner.cli.progress import reporter
from autotune.planner.cli.verification import say_row
from autotune.planner.export import MEASURES, SOURCES, table_of
from autotune.planner.predict import need_of
from autotune.planner.request import Request, task_of
from autotune.planner.shape import known_shape
from autotune.planner.tune import SPARE_BYTES, tune
from autotune.planner.verify import Wanted, verify
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.recipe import Recipe
from autotune.search.replay.random_search import expected
from autotune.search.replay.table import read_table
from autotune.search.space import space_for
from autotune.search.task import CONTEXT_BYTES
from autotune.search.trial.failure import TrialFailure
from autotune.search.verify.architectures import ARCHITECTURES
from autotune.search.verify.findings import difference
from autotune.store.places import cache_dir
from autotune.store.store import Store

if TYPE_CHECKING:
    from autotune.planner.tune import Result
    from autotune.probes.machine import Machine
    from autotune.search.task import Task
    from autotune.search.trial.process import TrialProcess

GIB = 2**30
CALLS = 3
FEW_TRIALS = 4
NEAR = 1.05
UNCUT_S = 300.0
Found = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where results go, and how: `tiny` has small pipelines of the same classes stand in for the models."""

    folder: Path
    machine: Machine
    tiny: bool = False

    def request(self, subject: Subject, **more: Any) -> Request:
        """Return the request for a subject, with made-up weights."""
        if not self.tiny:
            return Request(model=subject.name, weights="random", steps=subject.steps, **more)
        small = self._small[subject.small]
        folder = self.folder / "home" / "small" / subject.name
        if not folder.exists():
            small.write(folder)
        sizes = {name: getattr(small.workload, name) for name in ("width", "height", "frames", "guidance")}
        return Request(model=str(folder), weights="random", steps=4, **sizes, **more)

    def task(self, subject: Subject, machine: Machine | None = None) -> Task:
        """Return the task of a subject."""
        return task_of(self.request(subject), machine or self.machine)[0]

    @cached_property
    def _small(self) -> dict[str, Any]:
        return {each.name: each for each in ARCHITECTURES}


@dataclass(frozen=True)
class Part:
    """A part: `weight` is its share of the time, beside those of the others."""

    name: str
    asks: str
    weight: float
    run: Callable[[Place, float, Found], Iterator[Found]]


@contextmanager
def trials_of(task: Task, memory_limit_bytes: int | None = None) -> Iterator[IsolatedEvaluator]:
    """Give what runs recipes, whose trials know the commands of this benchmark."""
    limit = memory_limit_bytes or task.machine.memory.free_bytes - SPARE_BYTES
    with IsolatedEvaluator(task, (*task.modules, "gpu_inside"), limit) as evaluator:
        yield evaluator


def seen(evaluator: IsolatedEvaluator, recipe: Recipe, deadline: float, then: Sequence[str] = ()) -> Found:
    """Return what some calls of a recipe took; then: commands that are asked afterwards. A failure is a result."""
    facts: Found = {}
    try:
        with evaluator.opened(recipe, deadline, facts) as process:
            calls = evaluator.run(process, recipe, range(CALLS), deadline, facts)
            more = {name: _asked(process, name, deadline) for name in then}
    except TrialFailure as failure:
        return {"recipe": recipe.key, "outcome": failure.outcome, "reason": failure.detail.splitlines()[0][:300]}
    latency = calls.latency
    return {
        "recipe": recipe.key,
        "outcome": "ok",
        "latency_ms": latency.median_ms,
        "samples_ms": list(latency.samples_ms),
        "step_ms": statistics.median(latency.steps_ms),
        "load_s": facts["load_s"],
        "cold_s": facts["cold_s"],
        "peak_memory_bytes": facts["peak_memory_bytes"],
        "gpu_clock": calls.load.gpu_clock,
        "gpu_slowed": calls.load.gpu_slowed,
        "foreign_gpu": calls.load.foreign_gpu,
        **more,
    }


def _asked(process: TrialProcess, command: str, deadline: float) -> Found:
    return process.ask({"do": command}, max(1.0, deadline - time.monotonic()))


def look(place: Place, deadline: float, _: Found) -> Iterator[Found]:
    """Say what there is, and whether a trial's process can use it."""
    machine, task = place.machine, place.task(FLUX if place.tiny else SD15)
    with trials_of(task) as evaluator:
        first = seen(evaluator, Recipe(), _enough(deadline), ["say_origin"])
    if first["outcome"] != "ok":
        msg = f"A trial's process cannot use the {task.device} ({first['outcome']}): {first['reason']}"
        raise UnfitError(msg)
    missing = sorted(
        {"bitsandbytes", "cache_dit", "gguf", "optimum_quanto", "torchao"} - machine.software.versions.keys()
    )
    gpus = [each.model_dump(mode="json", exclude={"uuid_hash"}) for each in machine.accelerators]
    yield {
        "done": True,
        "device": task.device,
        "accelerators": gpus,
        "cpu": machine.cpu.model_name,
        "cores": machine.cpu.allowed_cores,
        "ram_bytes": machine.memory.total_bytes,
        "software": machine.software.versions,
        "missing": missing,
        "first_trial": first,
    }


def climbed(subject: Subject, steps: Sequence[Step], place: Place, deadline: float, before: Found) -> Iterator[Found]:
    """Measure each step by itself, with what it takes of memory beside what was predicted."""
    known = {row["step"]: row for row in before.get("rows", ()) if row["outcome"] in {"ok", "refused"}}
    steps = [step for step in steps if "compile" not in step.turned][:2] if place.tiny else steps
    task = place.task(subject)
    space, shape = space_for(task.setting), known_shape(task.card, task.workload)
    commands = ["count_memory"] if task.device == "cuda" else []
    with trials_of(task) as evaluator:
        for step in steps:
            if step.says in known or time.monotonic() >= deadline:
                continue
            recipe, reason, refused = possible(dict(step.turned), space)
            row: Found = {"recipe": recipe.key, "outcome": "refused"}
            if not refused:
                row = seen(evaluator, recipe, deadline, commands)
            if row["outcome"] == "timeout" and time.monotonic() >= deadline:
                break
            if shape and not refused:
                row["predicted_bytes"] = need_of(recipe, shape, task.workload, task.device).peak_bytes
            known[step.says] = {"step": step.says, "published_s": step.published_s, "reason": reason, **row}
            print(f"{step.says}: {row['outcome']} {row.get('latency_ms', math.nan):.0f} ms {reason}", flush=True)
            yield {"done": len(known) == len(steps), "rows": [known[it.says] for it in steps if it.says in known]}


def tuned(subject: Subject, place: Place, deadline: float, before: Found) -> Iterator[Found]:
    """Tune as `autotune --model` does, and keep the trials as a replay table.

    One that failed before it had any result is begun anew: its failed baseline would be remembered.
    """
    fresh, most = bool(before) and "trials" not in before, FEW_TRIALS if place.tiny else None
    yield _tuned(place, subject, deadline, place.machine, f"{subject.name}.csv", most, fresh=fresh)


def family(subject: Subject, place: Place, deadline: float, before: Found) -> Iterator[Found]:
    """Tune for cards with less memory: the allocator gives a trial no more than such a card has."""
    found: Found = dict(before.get("cards", {}))
    cards = CARDS_GIB[:1] if place.tiny else CARDS_GIB
    for number, gib in enumerate(cards):
        name, now = f"{gib} GiB", time.monotonic()
        if found.get(name, {}).get("done") or now >= deadline:
            continue
        until = now + (deadline - now) / (len(cards) - number)
        card = capped(place.machine, gib * GIB)
        table = f"{subject.name}-{gib}gib.csv"
        try:
            found[name] = _tuned(place, subject, until, card, table, FEW_TRIALS if place.tiny else 3 * FEW_TRIALS)
        except UnfitError as failure:  # that nothing fits such a card is a result
            found[name] = {"done": True, "reason": str(failure)}
        yield {"done": all(found.get(f"{gib} GiB", {}).get("done") for gib in cards), "cards": found}


def capped(machine: Machine, most_bytes: int) -> Machine:
    """Return a machine with less memory: its accelerators, or where there are none its RAM."""
    memory = machine.memory
    if not machine.accelerators:
        less = {"total_bytes": min(memory.total_bytes, most_bytes), "free_bytes": min(memory.free_bytes, most_bytes)}
        return machine.model_copy(update={"memory": memory.model_copy(update=less)})
    cards = []
    for each in machine.accelerators:
        free_bytes = min(each.total_bytes if each.free_bytes is None else each.free_bytes, most_bytes)
        cards.append(each.model_copy(update={"total_bytes": most_bytes, "free_bytes": free_bytes}))
    return machine.model_copy(update={"accelerators": tuple(cards)})


def _tuned(  # noqa: PLR0913 - all of a tuning
    place: Place,
    subject: Subject,
    deadline: float,
    machine: Machine,
    table: str,
    most: int | None,
    *,
    fresh: bool = False,
) -> Found:
    started = time.monotonic()
    request = place.request(subject, budget_s=max(1.0, deadline - started), most_trials=most, fresh=fresh)
    with reporter(as_json=False) as tell:
        result = tune(request, tell, machine=machine)
    with Store.read() as store:
        run = next(run for run in store.runs(result.task.card.name) if run.id == result.run.id)
    (place.folder / table).write_text(table_of(run), encoding="utf-8", newline="")
    return {
        "done": run.state == "finished",
        "seconds": time.monotonic() - started,
        "reason": result.reason or run.reason,
        "trials": len(result.trials),
        "failed": sorted({trial.outcome for trial in result.trials} - {"ok", "slow"}),
        "table": table,
        "plans": _plans(result),
        "memory": _memory(result),
        "search": _searched(place.folder / table, result),
    }


def _plans(result: Result) -> list[Found]:
    return [
        {
            "recipe": plan.recipe.key,
            "latency_ms": plan.latency.median_ms,
            "baseline": plan.baseline.key,
            "baseline_ms": plan.baseline_latency.median_ms,
            "speedup": plan.speedup,
            "speedup_low": plan.speedup_low,
            "speedup_high": plan.speedup_high,
            "raced": plan.raced,
            "peak_memory_bytes": plan.peak_memory_bytes,
        }
        for plan in result.plans
    ]


def _memory(result: Result) -> list[Found]:
    """Return each peak that was predicted, beside what it was."""
    return [
        {"recipe": trial.recipe.key, "predicted_bytes": trial.predicted_bytes, "peak_bytes": trial.peak_memory_bytes}
        for trial in result.trials
        if trial.outcome in {"ok", "slow"} and trial.predicted_bytes and trial.peak_memory_bytes
    ]


def _searched(file: Path, result: Result) -> Found:
    """Return the seconds of trials until one was nearly as good as the best, and what a random order is expected to."""
    able = [trial for trial in result.trials if trial.feasible(result.task.tolerance)]
    knobs = file.read_text(encoding="utf-8").splitlines()[0].split(",")[: -len(MEASURES) - len(SOURCES)]
    if not able or not knobs:
        return {}
    target, spent = NEAR * min(trial.median_ms for trial in able), 0.0
    for trial in result.trials:
        spent += trial.duration_s
        if trial in able and trial.median_ms <= target:
            break
    table = read_table(file, knobs, "latency_ms", cost="cost_s")
    return {"seconds": spent, "random_seconds": expected(table, NEAR * min(table.feasible.values())).cost}


def isolation(place: Place, deadline: float, _: Found) -> Iterator[Found]:
    """See that a trial which runs out of memory, or breaks the device, harms no other."""
    subject, recipe = FLUX if place.tiny else SD15, Recipe(turned={"precision": "bf16"})
    task, deadline = place.task(subject), _enough(deadline)
    on_gpu = task.device == "cuda"
    little = place.task(subject, capped(place.machine, CONTEXT_BYTES + 2**20)) if on_gpu else task
    asked = ["count_memory"] if on_gpu else []
    with trials_of(task) as evaluator, trials_of(little, None if on_gpu else 2**20) as crowd:
        found = {
            "before": seen(evaluator, recipe, deadline, asked),
            "broken": _broken(evaluator, recipe, deadline) if on_gpu else {},
            "out_of_memory": seen(crowd, Recipe(), deadline),
            "after": seen(evaluator, recipe, deadline, asked),
        }
    yield {"done": True, **found}


def _broken(evaluator: IsolatedEvaluator, recipe: Recipe, deadline: float) -> Found:
    """Let a trial break its device, and return what it said; that it died of it is a result too."""
    try:
        with evaluator.opened(recipe, deadline, {}) as process:
            return _asked(process, "break_device", deadline)
    except TrialFailure as failure:
        return {"first": failure.detail.splitlines()[0][:300], "then": failure.outcome}


def compiled_again(place: Place, deadline: float, _: Found) -> Iterator[Found]:
    """See what the first call takes in a process that finds what another one compiled."""
    del deadline  # two processes, each with its own limit
    recipe = Recipe(turned={"precision": "bf16", "compile": "regional"})
    folder = cache_dir() / f"again-{time.time_ns()}"  # a tuning may have compiled the same, and kept it
    task = replace(place.task(SDXL), artifacts=folder / "artifacts")
    refused = space_for(task.setting).why_not(recipe)
    if refused:
        yield {"done": True, "reason": refused}
        return
    calls = [{"first_s": first, "later_s": later} for first, later in first_calls(task, recipe, folder)]
    yield {"done": True, "recipe": recipe.key, "calls": calls}


def verified(place: Place, deadline: float, _: Found) -> Iterator[Found]:
    """Run every knob alone, and what each rule refuses, on the small pipelines, as `autotune verify` does."""
    file = place.folder / "compatibility.jsonl"
    names = [architecture.name for architecture in ARCHITECTURES][: 1 if place.tiny else None]
    minutes = 0.5 if place.tiny else max(0.1, (deadline - time.monotonic()) / 60)
    started, count = time.monotonic(), 0

    def note(row: Any) -> None:
        nonlocal count
        count += 1
        say_row(row)

    rows = verify(Wanted(names=names, minutes=minutes), file, note)
    wrong = [f"{row.architecture}, {row.recipe.key}: {said}" for row in rows if (said := difference(row))]
    ended_early = time.monotonic() - started >= 60 * minutes
    yield {"done": place.tiny or not ended_early, "rows": len(rows), "new_rows": count, "differences": wrong}


def _enough(deadline: float) -> float:
    """Return a later deadline where one is too near for what cannot be cut."""
    return max(deadline, time.monotonic() + UNCUT_S)
