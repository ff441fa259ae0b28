"""Commands that ask and change nothing: for a plan, for what would fit, for why, for what a model or a machine is."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError
from .options import (
    Batch,
    Distilled,
    Frames,
    Guidance,
    Json,
    Lora,
    MachineFile,
    Prompts,
    Size,
    Steps,
    request_of,
    workload_of,
)

if TYPE_CHECKING:
    from ..choose import Wish


class Form(StrEnum):
    """How a plan is written down where no autotune is."""

    python = "python"
    json = "json"
    kwargs = "kwargs"


def plan(  # noqa: PLR0913 - each is an option of the command
    model: Annotated[
        list[str],
        typer.Argument(
            metavar="[export] MODEL | import FOLDER",
            help="The model, as it was tuned; with `export`, its plan is written. `import`: plans of a lab are kept.",
        ),
    ],
    format_: Annotated[
        Form | None, typer.Option("--format", help="With export: python, json or kwargs [default: python].")
    ] = None,
    max_memory: Annotated[str, typer.Option(help="Take no more than this, such as 3GiB, even if more is free.")] = "",
    size: Size = "",
    steps: Steps = None,
    batch: Batch = None,
    frames: Frames = None,
    guidance: Guidance = None,
    lora: Lora = None,
    distilled: Distilled = None,
    machine: MachineFile = None,
    json_: Json = False,
) -> None:
    """Print the best plan for the memory that is free now.

    What is not said of the calls that it is for is as it was tuned last. Where nothing was measured yet, or for another
    machine, the plan is predicted.
    """
    from ...probes.software import probe_software
    from ..added import additions_of, named_variants
    from ..catalogue import find_model
    from ..choose import wish_of
    from ..client import plan as ask
    from ..estimating import was_tuned
    from . import tables
    from .amounts import parse_bytes

    wish = wish_of(**workload_of(size, steps, batch, frames, guidance))
    limit = parse_bytes(max_memory) if max_memory else None
    if model[0] == "import" and len(model) == 2 and not format_:
        _import(Path(model[1]))
        return
    name, exports = _named(model, format_)
    if exports:
        _export(name, wish, limit, exports)
        return
    found = find_model(name)
    if machine or not was_tuned(found.card.name):
        _predict(name, wish, machine, limit, as_json=json_)
        return
    variants = named_variants(distilled or ())
    added = additions_of(found.card, probe_software(), lora or (), variants, allowed=bool(variants))
    answer = ask(found.card.name, max_memory_bytes=limit, workload=wish, revision=found.card.revision, added=added)
    if json_:
        typer.echo(answer.model_dump_json(indent=2))
    else:
        tables.print_answer(answer)


def _named(words: list[str], form: Form | None) -> tuple[str, Form | None]:
    """Return the model that is meant, and the form in which its plan is to be exported, None where it is not."""
    if len(words) == 1:
        if form:
            msg = f"--format is of `autotune plan export {words[0]}`."
            raise UsageError(msg)
        return words[0], None
    if len(words) != 2 or words[0] != "export":
        msg = f"One model is asked for at a time, and {' '.join(words)} was given."
        raise UsageError(msg)
    return words[1], form or Form.python


def _import(place: Path) -> None:
    from ...store.store import Store
    from ..parcel import read_parcels, take_in

    parcels = list(read_parcels(place))
    with Store.open() as store:
        new = [parcel for parcel in parcels if take_in(store, parcel)]
    for parcel in new:
        typer.echo(f"{parcel.run.scope.model}: {len(parcel.plans)} plans for {parcel.run.scope.workload}")
    typer.echo(f"{len(new)} of {len(parcels)} were not here yet.")


def _export(model: str, wish: Wish, limit_bytes: int | None, form: Form) -> None:
    from ..exported import exported

    content, note = exported(model, form.value, wish, limit_bytes)
    if note:
        typer.echo(note, err=True)
    typer.echo(content.rstrip("\n"))


def _predict(model: str, wish: Wish, machine: Path | None, limit_bytes: int | None, *, as_json: bool) -> None:
    from ..estimating import predicted_plan
    from . import memory

    predicted = predicted_plan(model, wish, machine, limit_bytes)
    if as_json:
        typer.echo(memory.predicted_json(predicted))
    else:
        memory.print_predicted(predicted)
    if predicted.best is None:
        raise typer.Exit(3)


def estimate(  # noqa: PLR0913 - each is an option of the command
    model: Annotated[str, typer.Argument(help="The model: a short name, a folder, a file, or org/name at the hub.")],
    max_memory: Annotated[
        str, typer.Option("--max-memory", "--max-vram", help="Take no more than this, such as 8GiB.")
    ] = "",
    size: Size = "",
    batch: Batch = None,
    frames: Frames = None,
    guidance: Guidance = None,
    machine: MachineFile = None,
    json_: Json = False,
) -> None:
    """Print what would fit, before anything is downloaded."""
    from ..choose import wish_of
    from ..estimating import estimate_of
    from . import memory
    from .amounts import parse_bytes

    wish = wish_of(**workload_of(size, None, batch, frames, guidance))
    found = estimate_of(model, wish, machine, parse_bytes(max_memory) if max_memory else None)
    if json_:
        typer.echo(found.model_dump_json(indent=2))
    else:
        memory.print_estimate(found)


def explain(  # noqa: PLR0913 - each is an option of the command
    model: Annotated[str, typer.Argument(help="The model: a short name, a folder or a file.")],
    turns: Annotated[
        list[str] | None,
        typer.Argument(metavar="KNOB=CHOICE", help="Ask of one recipe: compile=full precision=bf16."),
    ] = None,
    size: Size = "",
    steps: Steps = None,
    batch: Batch = None,
    frames: Frames = None,
    guidance: Guidance = None,
    prompts: Prompts = None,
    lora: Lora = None,
    distilled: Distilled = None,
    json_: Json = False,
) -> None:
    """Print what each knob bought, and what is not tried and why."""
    from ..explain import Overview, overview
    from ..explain import explain as look
    from . import tables

    variants = tuple(distilled or ())
    request = request_of(model, size, steps, batch, frames, guidance, prompts)
    request = replace(request, lora=tuple(lora or ()), allow=("distilled",) * bool(variants), distilled=variants)
    found = look(request, turns) if turns else overview(request)
    if json_:
        typer.echo(found.model_dump_json(indent=2))
    elif isinstance(found, Overview):
        tables.print_overview(found)
    else:
        tables.print_explanation(found)


def show(
    model: Annotated[str, typer.Argument(help="The model: a short name, a folder or a file.")],
    json_: Json = False,
) -> None:
    """Print what a model is made of, and if its weights are here."""
    from ..show import show as look
    from . import card

    shown = look(model)
    if json_:
        typer.echo(shown.model_dump_json(indent=2))
    else:
        card.print_card(shown)


def probe(json_: Json = False) -> None:
    """Print what this machine is: CPU, memory, GPUs, software."""
    from ...probes.machine import probe as look
    from . import tables

    machine = look()
    if json_:
        typer.echo(machine.model_dump_json(indent=2))
    else:
        tables.print_machine(machine)
