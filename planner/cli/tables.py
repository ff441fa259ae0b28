"""Results for people, on standard output."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ...store.places import data_dir
from ...store.store import FILE_NAME
from ..choose import said_bytes
from .amounts import said_ms, said_s

if TYPE_CHECKING:
    from ...probes.machine import Machine
    from ...search.measured import Latency, Quality
    from ...search.plan import Plan
    from ...search.space import Space
    from ...search.task import Task
    from ..choose import Answer
    from ..tune import Result

BROKEN = ("out_of_memory", "timeout", "crashed", "bad_image", "unfit")
DETAIL_WIDTH = 200


def print_result(result: Result) -> None:
    """Print how a tuning ended: the comparison, what each knob bought, what failed, and how to use the plan."""
    console = Console()
    if result.run.state == "finished":
        console.print(f"From the store: this was tuned on {result.run.started_at[:10]}; --fresh tunes it again.\n")
    _print_failures(console, result)
    plan = result.plan
    if plan is None:
        console.print(f"No plan: {result.reason}. The unmodified pipeline is kept.", highlight=False)
        return
    console.print(_headline(plan), highlight=False)
    console.print(_comparison(plan))
    console.print(_gains(plan))
    others = len(result.plans) - 1
    if others:
        console.print(f"{others} other plan{'s' * (others > 1)} kept for other amounts of free memory.")
    if result.interrupted:
        console.print(f"Interrupted: `autotune --model {plan.scope.model}` goes on from here.")
    else:
        console.print(f"Ended after {len(result.trials)} trials because {result.reason}.", highlight=False)
    _print_use(console, plan)


def _headline(plan: Plan) -> str:
    known = "" if plan.raced else " (not yet raced against the baseline)"
    return (
        f"\n{plan.speedup:.2f} times as fast as the unmodified pipeline{known}, "
        f"95 % interval {plan.speedup_low:.2f} to {plan.speedup_high:.2f}: {plan.recipe}"
    )


def _comparison(plan: Plan) -> Table:
    table = Table("", "baseline", "plan", box=None, pad_edge=False, header_style="bold")
    table.columns[1].justify = table.columns[2].justify = "right"
    table.add_row("latency of a call", _said_latency(plan.baseline_latency), _said_latency(plan.latency))
    table.add_row("peak memory", said_bytes(plan.baseline_peak_memory_bytes), said_bytes(plan.peak_memory_bytes))
    table.add_row("load and first call", "", f"{said_s(plan.load_s + plan.cold_s)}")
    if plan.quality:
        table.add_row("CLIP score", f"{plan.quality.baseline_mean:.2f}", f"{plan.quality.mean:.2f}")
        table.add_row("paired difference", "", _said_difference(plan.quality, plan.scope.tolerance))
    else:
        table.add_row("CLIP score", "not measured", "not measured")
    return table


def _said_latency(latency: Latency) -> str:
    return f"{said_ms(latency.median_ms)} ± {100 * latency.spread:.1f} %"


def _said_difference(quality: Quality, tolerance: float) -> str:
    limit = tolerance * quality.baseline_mean
    return (
        f"{quality.mean - quality.baseline_mean:+.2f}, 95 % bound {quality.bound:+.2f}"
        f" (at least {-limit:+.2f} is asked; {len(quality.scores)} pairs)"
    )


def _gains(plan: Plan) -> Table:
    table = Table("knob", "what it bought", box=None, pad_edge=False, header_style="bold")
    for gain in plan.gains:
        bought = f"{gain.slowdown_without:.2f} times slower without it" if gain.slowdown_without else gain.note
        table.add_row(f"{gain.knob}={gain.choice}", bought)
    return table


def _print_failures(console: Console, result: Result) -> None:
    failed = [trial for trial in result.trials if trial.outcome in BROKEN]
    if not failed:
        return
    table = Table("did not work", "because", box=None, pad_edge=False, header_style="bold")
    for trial in failed:
        detail = " ".join(trial.detail.split())
        table.add_row(str(trial.recipe), f"{trial.outcome.replace('_', ' ')}: {detail[:DETAIL_WIDTH]}")
    console.print(table, highlight=False, markup=False)


def _print_use(console: Console, plan: Plan) -> None:
    console.print(f"Kept as {plan.id} in {data_dir() / FILE_NAME}\n", highlight=False, soft_wrap=True)
    console.print("  import autotune", highlight=False)
    console.print(f'  pipe = autotune.load("{plan.scope.model}")', highlight=False)
    console.print(
        '  pipe("a large red circle on a blue background").images[0].save("image.png")', highlight=False, soft_wrap=True
    )


def print_answer(answer: Answer) -> None:
    """Print the plan for now, and why it is this one."""
    console = Console()
    plan = answer.plan
    console.print(f"{answer.model}: {plan.recipe}", highlight=False)
    console.print(answer.reason, highlight=False)
    for reason in answer.stale_reasons:
        console.print(f"Stale: {reason}.", highlight=False)
    if answer.asked:
        console.print(answer.asked, highlight=False)
    console.print(_headline(plan), highlight=False)
    console.print(_comparison(plan))
    if answer.safer:
        console.print(
            f"If memory runs short: {answer.safer.recipe}, which needs {said_bytes(answer.safer.needs_bytes)}."
        )
    console.print(
        f"{answer.known.capitalize()}, {plan.scope.workload}, on {plan.created_at[:10]}, plan {plan.id}.",
        highlight=False,
    )


def print_machine(machine: Machine) -> None:
    """Print what the probes see."""
    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    cpu, memory = machine.cpu, machine.memory
    table.add_row(
        "CPU",
        f"{cpu.model_name} ({cpu.architecture}), {cpu.allowed_cores} of {cpu.logical_cores} cores for this process",
    )
    table.add_row("", ", ".join(cpu.features) or "no fast instructions known")
    table.add_row("memory", f"{said_bytes(memory.free_bytes)} free of {said_bytes(memory.total_bytes)}")
    for each in machine.accelerators:
        free = f"{said_bytes(each.free_bytes)} free of " if each.free_bytes is not None else ""
        table.add_row(
            f"{each.kind}:{each.index}", f"{each.name}, {free}{said_bytes(each.total_bytes)}, driver {each.driver}"
        )
    if not machine.accelerators:
        table.add_row("accelerators", "none")
    software = machine.software
    table.add_row("software", ", ".join(f"{name} {version}" for name, version in software.versions.items()))
    table.add_row("", f"Python {software.python}, {software.os}")
    table.add_row("fingerprint", machine.fingerprint)
    console.print(table, highlight=False)
    for note in machine.notes:
        console.print(note, highlight=False)


def print_dry_run(task: Task, space: Space, budget_s: float, *, as_json: bool) -> None:
    """Print what would be tried; nothing has been loaded for it."""
    recipes = space.recipes()
    if as_json:
        content = {
            "schema_version": 1,
            "scope": task.scope.model_dump(mode="json"),
            "recipes": len(recipes),
            "budget_s": budget_s,
            "choices": space.choices,
            "refused": [{"knob": k, "choice": c, "reason": reason} for (k, c), reason in space.refused.items()],
        }
        sys.stdout.write(json.dumps(content) + "\n")
        return
    console = Console()
    console.print(f"{task.card.name} ({task.card.pipeline_class}) on {task.device}, {task.workload}", highlight=False)
    console.print(
        f"machine {task.machine.fingerprint}, at most {said_s(budget_s)}, {len(recipes)} recipes:", highlight=False
    )
    table = Table("knob", "choices", box=None, pad_edge=False, header_style="bold")
    for name, choices in space.choices.items():
        table.add_row(name, ", ".join(map(str, choices)))
    console.print(table, highlight=False)
    for (name, choice), reason in space.refused.items():
        console.print(f"left out: {name}={choice}: {reason}", highlight=False)
