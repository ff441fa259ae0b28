"""Results for people, on standard output."""

from __future__ import annotations

import json
import re
import shlex
import statistics
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ...search.additions import VARIANTS, distilled_in
from ...search.baseline import baseline_of, said_baseline
from ...search.measured import FAILURES
from ...search.recipe import UNMODIFIED
from ...search.verdict import unseen_share
from ...store.places import data_dir
from ...store.store import FILE_NAME
from ..catalogue import asked_as
from ..choose import said_bytes, said_environment
from ..said import said_ms, said_s
from .progress import verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ...probes.machine import Machine
    from ...search.additions import Additions
    from ...search.measured import Latency, Quality, Trial
    from ...search.plan import Gain, Plan
    from ...search.space import Space
    from ...search.task import Task
    from ...search.witness import Witness
    from ..choose import Answer
    from ..compare import Comparison
    from ..explain import Explanation, Overview
    from ..hub.names import HubName
    from ..importance import Effect
    from ..tune import Result

DETAIL_WIDTH = 200
PROMPT_WIDTH = 50


def _console() -> Console:
    """Return standard output, where brackets and colons are what they are: text comes from files and libraries too."""
    return Console(markup=False, emoji=False, highlight=False)


def print_result(result: Result) -> None:
    """Print how a tuning ended: the comparison, what each knob bought, what failed, and how to use the plan."""
    console = _console()
    if result.run.state == "finished":
        console.print(f"From the store: this was tuned on {result.run.started_at[:10]}; --fresh tunes it again.\n")
    _print_failures(console, [trial for trial in result.trials if trial.outcome in FAILURES])
    plan = result.plan
    if plan is None:
        kept = baseline_of(result.trials)
        other = kept is not None and kept.recipe != UNMODIFIED
        console.print(f"No plan: {result.reason}.{'' if other else ' The unmodified pipeline is kept.'}")
        _print_way_on(console, result)
        return
    _print_comparison(console, plan)
    if plan.scope.weights:
        console.print("Weights made up: latency and memory are real, quality is not measured.")
    console.print(_gains(plan))
    others = len(result.plans) - 1
    if others:
        console.print(f"{others} other plan{'s' * (others > 1)} kept for other amounts of free memory.")
    if not result.interrupted:
        console.print(f"Ended after {len(result.trials)} trials because {result.reason}.")
    _print_way_on(console, result)
    _print_use(console, result.task, plan)


def _print_comparison(console: Console, plan: Plan) -> None:
    console.print(_headline(plan))
    if plan.baseline != UNMODIFIED:
        console.print(said_baseline(plan.baseline, plan.scope.device))
    console.print(_comparison(plan))
    for note in plan.notes:
        console.print(note)


def _headline(plan: Plan) -> str:
    against = "the unmodified pipeline" if plan.baseline == UNMODIFIED else f"the baseline ({plan.baseline})"
    known = "" if plan.raced else " (not yet raced against the baseline)"
    return (
        f"\n{plan.speedup:.2f} times {_said_better(plan.scope.objective)} {against}{known}, "
        f"95 % interval {plan.speedup_low:.2f} to {plan.speedup_high:.2f}: {plan.recipe}"
    )


def _said_better(objective: str) -> str:
    """Return what a plan is so many times of, by the key of its objective."""
    words = {"": "as fast as", "throughput": "the images a second of", "energy": "the calls a joule of"}
    return words.get(objective) or f"as fast, for a {objective} with loading and compiling, as"


def _comparison(plan: Plan) -> Table:
    table = Table("", "baseline", "plan", box=None, pad_edge=False, header_style="bold")
    table.columns[1].justify = table.columns[2].justify = "right"
    table.add_row("latency of a call", _said_latency(plan.baseline_latency), _said_latency(plan.latency))
    table.add_row("peak memory", said_bytes(plan.baseline_peak_memory_bytes), said_bytes(plan.peak_memory_bytes))
    if plan.scope.workload.batch > 1:
        table.add_row("an image of it", *(_said_image(plan, each) for each in (plan.baseline_latency, plan.latency)))
    table.add_row("loading", "", said_s(plan.load_s))
    compiling_s = max(0.0, plan.cold_s - plan.latency.median_ms / 1000)
    table.add_row("first call", "", f"{said_s(plan.cold_s)}, {said_s(compiling_s)} more than the next")
    if plan.quality:
        table.add_row("CLIP score", f"{plan.quality.baseline_mean:.2f}", f"{plan.quality.mean:.2f}")
        table.add_row("paired difference", "", _said_difference(plan.quality, plan.scope.tolerance))
        for name, said in _said_single(plan.quality):
            table.add_row(name, "", said)
        if plan.quality.ssim is not None:
            table.add_row("likeness to it (SSIM)", "", _said_likeness(plan.quality))
        elif distilled_in(plan.recipe):
            table.add_row("likeness to it (SSIM)", "", "not meant: distilled")
        for witness in plan.quality.witnesses:
            table.add_row(*_said_by(witness))
    else:
        table.add_row("CLIP score", "not measured", "not measured")
    return table


def _said_single(quality: Quality) -> Iterator[tuple[str, str]]:
    """Say how single images did, which no mean tells, and what so few of them cannot tell."""
    if len(quality.scores) > 1:
        yield "the worst tenth", f"{quality.floor:+.2f} or less"
    for worst in quality.worst:
        yield f"seed {worst.seed}", f"{worst.difference:+.2f}: {_plain(worst.prompt)[:PROMPT_WIDTH]}"
    yield "ruined and not seen", f"up to {100 * unseen_share(len(quality.scores)):.0f} % of images"


def _said_likeness(quality: Quality) -> str:
    psnr = f", PSNR {statistics.fmean(quality.psnr):.1f} dB" if quality.psnr else ""
    asked = f", {quality.fidelity} is asked" if quality.fidelity else ""
    return f"{quality.ssim:.3f}{psnr}: {quality.tier or 'another image'}{asked}"


def _said_by(witness: Witness) -> tuple[str, str, str]:
    """Say what another model says of the images: a score of both, or how like the baseline's own they are."""
    name = _plain(witness.model.partition("@")[0])
    if witness.kind == "score":
        return f"score by {name}", f"{witness.baseline_mean:.2f}", f"{witness.mean:.2f}"
    said = {"likeness": "likeness to it by", "distance": "distance from it by"}[witness.kind]
    return f"{said} {name}", "", f"{witness.mean:.3f}"


def _said_image(plan: Plan, latency: Latency) -> str:
    return said_ms(latency.median_ms / plan.scope.workload.batch)


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
        table.add_row(f"{gain.knob}={gain.choice}", _said_gain(gain))
    return table


def _said_gain(gain: Gain) -> str:
    if gain.slowdown_without is None:
        return gain.note
    times = f"{gain.slowdown_without:.2f} times"
    return f"{times} slower without it" if gain.slowdown_without > 1 else f"no gain was seen ({times} without it)"


def _print_failures(console: Console, failed: Sequence[Trial]) -> None:
    if not failed:
        return
    table = Table("did not work", "because", box=None, pad_edge=False, header_style="bold")
    for trial in failed:
        table.add_row(str(trial.recipe), f"{trial.outcome.replace('_', ' ')}: {_plain(trial.detail)[:DETAIL_WIDTH]}")
    console.print(table)


def _plain(text: str) -> str:
    """Return text of a library's in one line, without what would colour a terminal or move its cursor."""
    uncoloured = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return " ".join("".join(letter if letter.isprintable() else " " for letter in uncoloured).split())


def _print_way_on(console: Console, result: Result) -> None:
    if result.interrupted:
        console.print("Interrupted: the same command goes on from here.")


def _print_use(console: Console, task: Task, plan: Plan) -> None:
    console.print(f"Kept as {plan.id} in {data_dir() / FILE_NAME}\n", soft_wrap=True)
    model, prompt = (
        json.dumps(text, ensure_ascii=False) for text in (asked_as(task.card), task.calibration_prompts[0])
    )
    if task.made_up:
        console.print("It is for no app: with the weights, autotune --model FOLDER tries its recipe first.")
        return
    console.print("  import autotune")
    console.print(f"  pipe = autotune.load({model}{_said_additions(task.added)})", soft_wrap=True)
    console.print(f'  pipe({prompt}).images[0].save("image.png")', soft_wrap=True)


def _said_additions(added: Additions) -> str:
    """Return the arguments of `autotune.load` that name what is added."""
    places = {name: place for name in VARIANTS if (place := added.place(name))}
    said = {"lora": [str(adapter) for adapter in added.adapters], "distilled": places}
    return "".join(f", {name}={json.dumps(value, ensure_ascii=False)}" for name, value in said.items() if value)


def print_fetched(name: HubName, folder: Path, *, as_json: bool) -> None:
    """Print where a model of the hub lies now, at which commit, and how large it is."""
    size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if as_json:
        facts = {
            "schema_version": 1,
            "model": str(name),
            "commit": folder.name,
            "folder": str(folder),
            "bytes": size_bytes,
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    console = _console()
    console.print(f"{name}: {said_bytes(size_bytes)}, commit {folder.name[:12]}")
    console.print(str(folder), soft_wrap=True)


def print_answer(answer: Answer) -> None:
    """Print the plan for now, and why it is this one."""
    console = _console()
    plan = answer.plan
    console.print(f"{answer.model}: {plan.recipe}")
    console.print(answer.reason)
    for reason in answer.stale_reasons:
        console.print(f"Stale: {reason}.")
    for failed in answer.demoted:
        console.print(failed)
    if answer.asked:
        console.print(answer.asked)
    _print_comparison(console, plan)
    if answer.environment:
        console.print(f"Start the program with {said_environment(answer.environment)}.", soft_wrap=True)
    if answer.safer:
        console.print(
            f"If memory runs short: {answer.safer.recipe}, which needs {said_bytes(answer.safer.needs_bytes)}."
        )
    console.print(
        f"{answer.known.capitalize()}, {plan.scope.workload}, on {plan.created_at[:10]}, plan {plan.id}.",
        highlight=False,
    )


def print_overview(overview: Overview) -> None:
    """Print what each knob of the plan bought, what failed or was not as good, and what was never tried."""
    console = _console()
    if overview.plan:
        console.print(_headline(overview.plan).lstrip())
        for note in overview.plan.notes:
            console.print(note)
        console.print(_gains(overview.plan))
    elif overview.nothing_to_gain:
        console.print(f"Nothing to gain here: {overview.reason}.{_said_nearest(overview)}", soft_wrap=True)
    elif overview.reason:
        console.print(f"No plan: {overview.reason}.", soft_wrap=True)
    else:
        console.print(f"{overview.model} has not been tuned here for its own workload yet.")
    _print_effects(console, overview.effects)
    _print_missed(console, overview.missed)
    _print_failures(console, overview.failed)
    for refused in overview.refused:
        console.print(f"never tried here: {refused.knob}={refused.choice}: {refused.because}", soft_wrap=True)


def _said_nearest(overview: Overview) -> str:
    if overview.nearest is None or overview.baseline is None:
        return ""
    times = overview.baseline.cost / overview.nearest.cost
    return f" The nearest was {overview.nearest.recipe}, {times:.2f} times as fast when it was tried."


def _print_effects(console: Console, effects: Sequence[Effect]) -> None:
    if not effects:
        return
    table = Table("choice", "beside the default", "pairs", box=None, pad_edge=False, header_style="bold")
    for effect in effects:
        times = f"{effect.times_as_fast:.2f} times as fast"
        table.add_row(f"{effect.knob}={effect.choice}", times, str(effect.pairs))
    console.print(table)


def _print_missed(console: Console, missed: Sequence[Trial]) -> None:
    if not missed:
        return
    table = Table("not as good", "CLIP score", box=None, pad_edge=False, header_style="bold")
    for trial in missed:
        lost = trial.quality.mean - trial.quality.baseline_mean if trial.quality else 0.0
        bound = f", surely not below {trial.quality.bound:+.2f}" if trial.quality else ""
        table.add_row(str(trial.recipe), f"{lost:+.2f}{bound}")
    console.print(table)


def print_explanation(explanation: Explanation) -> None:
    """Print what speaks against a recipe, and what came of it."""
    console = _console()
    if explanation.because:
        console.print(f"Never tried here. {explanation.because}", soft_wrap=True)
        console.print(f"Source: {explanation.source}", soft_wrap=True)
        return
    trial, baseline = explanation.trial, explanation.baseline
    if trial is None:
        console.print(f"{explanation.recipe}: nothing speaks against it here, and it has not been tried yet.")
        return
    word = verdict(trial, explanation.tolerance)
    console.print(f"{explanation.recipe}: tried here on {trial.started_at[:10]}: {word}.")
    if trial.latency:
        against = f", {said_ms(baseline.median_ms)} {baseline.recipe}" if baseline and baseline.latency else ""
        console.print(f"{said_ms(trial.median_ms)} a call{against}.")
    if trial.quality:
        console.print(f"CLIP score {_said_difference(trial.quality, explanation.tolerance)}")
    if trial.detail:
        console.print(_plain(trial.detail)[:DETAIL_WIDTH], soft_wrap=True)


def print_comparison(found: Comparison) -> None:
    """Print two tunings beside each other."""
    console = _console()
    console.print(f"A: {found.a}\nB: {found.b}", soft_wrap=True)
    for difference in found.differences:
        console.print(f"differs: {difference}", soft_wrap=True)
    for title, rows in (("", found.rows), ("recipes that ran in both", found.both)):
        if rows:
            table = Table(title, "A", "B", "B over A", box=None, pad_edge=False, header_style="bold")
            for row in rows:
                table.add_row(row.name, row.a, row.b, f"{row.factor:.2f}" if row.factor else "")
            console.print(table)


def print_machine(machine: Machine) -> None:
    """Print what the probes see."""
    console = _console()
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
        driver = f", driver {each.driver}" if each.driver else ""
        table.add_row(f"{each.kind}:{each.index}", f"{each.name}, {free}{said_bytes(each.total_bytes)}{driver}")
    if not machine.accelerators:
        table.add_row("accelerators", "none")
    software = machine.software
    table.add_row("software", ", ".join(f"{name} {version}" for name, version in software.versions.items()))
    table.add_row("", f"Python {software.python}, {software.os}")
    table.add_row("fingerprint", machine.fingerprint)
    console.print(table)
    for note in machine.notes:
        console.print(note)


def print_dry_run(task: Task, space: Space, budget_s: float, *, as_json: bool) -> None:
    """Print what would be tried; nothing has been loaded for it."""
    if as_json:
        content = {
            "schema_version": 1,
            "scope": task.scope.model_dump(mode="json"),
            "recipes": space.size,
            "budget_s": budget_s,
            "choices": space.choices,
            "refused": [{"knob": k, "choice": c, "reason": reason} for (k, c), reason in space.refused.items()],
        }
        sys.stdout.write(json.dumps(content) + "\n")
        return
    console = _console()
    asked = f"{task.workload}, {len(task.prompts)} prompts"
    console.print(f"{task.card.name} ({task.card.pipeline_class}) on {task.device}, {asked}", soft_wrap=True)
    if task.added.options:
        console.print(f"with {shlex.join(task.added.options)}", soft_wrap=True)
    if task.made_up:
        console.print("with made-up weights: quality will not be measured")
    console.print(f"machine {task.machine.fingerprint}, at most {said_s(budget_s)}, {space.size:} recipes:")
    table = Table("knob", "choices", box=None, pad_edge=False, header_style="bold")
    for name, choices in space.choices.items():
        table.add_row(name, ", ".join(map(str, choices)))
    console.print(table)
    for (name, choice), reason in space.refused.items():
        console.print(f"left out: {name}={choice}: {reason}")
