"""The commands. What they print is in `tables` and `progress`, what they do is in the rest of the planner."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ...errors import AutotuneError, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from ..tune import Request, Result

app = typer.Typer(
    name="autotune",
    help="Find, by measuring, the fastest way to run a diffusers pipeline here that keeps its image quality.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[
    bool, typer.Option("--json", help="Machine-readable: JSON on standard output, and nothing else there.")
]


Lora = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH[:SCALE]", help="A LoRA adapter that the model is used with: a safetensors file. Can be repeated."
    ),
]
MachineFile = Annotated[
    Path | None,
    typer.Option("--machine", metavar="FILE", help="Ask for the machine that `autotune probe --json` described there."),
]
Distilled = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PATH",
        help="Where a distilled variant lies: tiny_vae, small_denoiser, lcm_lora. Can be repeated.",
    ),
]


class Change(StrEnum):
    """What of the model itself may be changed."""

    distilled = "distilled"


class Weights(StrEnum):
    """Where weights come from that are not here, or are not to be used."""

    hub = "hub"
    random = "random"


def main() -> NoReturn:
    """Run the command line and leave with its exit code: errors are sentences, never tracebacks."""
    signal.signal(signal.SIGTERM, _terminated)
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except AutotuneError as error:
        if debug:
            traceback.print_exc()
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("Interrupted.", _INTERRUPTED_BY[-1])
    except BrokenPipeError:
        _hang_up()
    except SystemExit as leave:
        if isinstance(leave.__context__, BrokenPipeError):
            _hang_up()
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence, and where the rest is
        _fail(_of_click(error) or _report(error), getattr(error, "exit_code", 1))
    sys.exit(_INTERRUPTED_BY[-1] if code == 130 else code)  # typer takes every KeyboardInterrupt for Ctrl-C


@app.callback(invoke_without_command=True)
def autotune(  # noqa: PLR0913 - each is an option of the command
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            help="What to tune: a short name (shapes, flux-dev), a folder in diffusers format, or org/name[@revision] "
            "at the hub."
        ),
    ] = "",
    budget: Annotated[
        str, typer.Option(help="At most this much: 90s, 20m, 1h or 40trials [default: the model's own].")
    ] = "",
    tolerance: Annotated[str, typer.Option(help="How much of the baseline's CLIP score may be lost.")] = "1%",
    size: Annotated[str, typer.Option(help="Size of the image, such as 1024x1024 [default: the model's own].")] = "",
    steps: Annotated[int | None, typer.Option(help="Denoising steps [default: the model's own].")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a call [default: 1].")] = None,
    scorer: Annotated[Path | None, typer.Option(help="Folder of the CLIPModel that judges the images.")] = None,
    lora: Lora = None,
    allow: Annotated[list[Change] | None, typer.Option(help="What else may be changed: distilled variants.")] = None,
    distilled: Distilled = None,
    weights: Annotated[
        Weights | None,
        typer.Option(help="hub: fetched first; random: made up, so that only latency and memory are tuned."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, though this was tuned or begun before.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Try also what cannot fit into memory, as far as can be predicted.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be tried, and try nothing.")] = False,
    json_: Json = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Tune a model (`--model NAME`), or run one of the commands below."""
    del debug
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("autotune-diffusers"))
        raise typer.Exit
    if context.invoked_subcommand:
        _refuse_options(context)
        return
    if not model:
        msg = "Say what to tune with --model, such as `autotune --model shapes`, or see `autotune --help`."
        raise UsageError(msg)
    request = _request(model, budget, tolerance, size, steps, batch, scorer, fresh=fresh)
    request = replace(request, lora=tuple(lora or ()), allow=tuple(allow or ()), distilled=tuple(distilled or ()))
    request = replace(request, weights=str(weights or ""), force=force)
    if dry_run:
        _dry_run(request, as_json=json_)
    else:
        raise typer.Exit(_tune(request, as_json=json_))


@app.command()
def plan(  # noqa: PLR0913 - each is an option of the command
    model: Annotated[str, typer.Argument(help="The model, as it was tuned.")],
    max_memory: Annotated[str, typer.Option(help="Take no more than this, such as 3GiB, even if more is free.")] = "",
    lora: Lora = None,
    distilled: Distilled = None,
    machine: MachineFile = None,
    json_: Json = False,
) -> None:
    """Print the best plan for a model and the memory that is free now.

    Where nothing was measured yet, or for another machine, it is predicted.
    """
    from ...probes.software import probe_software
    from ..added import additions_of, named_variants
    from ..catalogue import find_model
    from ..client import plan as ask
    from ..estimating import was_tuned
    from . import tables
    from .amounts import parse_bytes

    limit = parse_bytes(max_memory) if max_memory else None
    found = find_model(model)
    if machine or not was_tuned(found.card.name):
        _predict(model, machine, limit, as_json=json_)
        return
    variants = named_variants(distilled or ())
    added = additions_of(found.card, probe_software(), lora or (), variants, allowed=bool(variants))
    answer = ask(found.card.name, max_memory_bytes=limit, revision=found.card.revision, added=added)
    if json_:
        typer.echo(answer.model_dump_json(indent=2))
    else:
        tables.print_answer(answer)


def _predict(model: str, machine: Path | None, limit_bytes: int | None, *, as_json: bool) -> None:
    from ..estimating import predicted_plan
    from . import memory

    predicted = predicted_plan(model, {}, machine, limit_bytes)
    if as_json:
        typer.echo(memory.predicted_json(predicted))
    else:
        memory.print_predicted(predicted)
    if predicted.best is None:
        raise typer.Exit(3)


@app.command()
def estimate(  # noqa: PLR0913 - each is an option of the command
    model: Annotated[str, typer.Argument(help="The model: a short name, a folder, or org/name at the hub.")],
    max_memory: Annotated[
        str, typer.Option("--max-memory", "--max-vram", help="Take no more than this, such as 8GiB.")
    ] = "",
    size: Annotated[str, typer.Option(help="Size of the image, such as 1024x1024 [default: the model's own].")] = "",
    batch: Annotated[int | None, typer.Option(min=1, help="Images a call [default: 1].")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a video [default: the model's own].")] = None,
    machine: MachineFile = None,
    json_: Json = False,
) -> None:
    """Print what would fit, before anything is downloaded or runs."""
    from ..estimating import estimate_of
    from . import memory
    from .amounts import parse_bytes, parse_size

    width, height = parse_size(size) if size else (None, None)
    asked = {"width": width, "height": height, "batch": batch, "frames": frames}
    limit = parse_bytes(max_memory) if max_memory else None
    found = estimate_of(model, {name: value for name, value in asked.items() if value}, machine, limit)
    if json_:
        typer.echo(found.model_dump_json(indent=2))
    else:
        memory.print_estimate(found)


@app.command()
def explain(
    model: Annotated[str, typer.Argument(help="The model: a short name or a folder.")],
    turns: Annotated[
        list[str] | None,
        typer.Argument(metavar="KNOB=CHOICE", help="Ask of one recipe: compile=full precision=bf16."),
    ] = None,
    lora: Lora = None,
    distilled: Distilled = None,
    json_: Json = False,
) -> None:
    """Print what each knob bought, and what is not tried here and why."""
    from ..explain import Overview, overview
    from ..explain import explain as look
    from ..tune import Request
    from . import tables

    variants = tuple(distilled or ())
    request = Request(model=model, lora=tuple(lora or ()), allow=("distilled",) * bool(variants), distilled=variants)
    found = look(request, turns) if turns else overview(request)
    if json_:
        typer.echo(found.model_dump_json(indent=2))
    elif isinstance(found, Overview):
        tables.print_overview(found)
    else:
        tables.print_explanation(found)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="The model: a short name or a folder.")],
    json_: Json = False,
) -> None:
    """Print what a model is made of, and whether its weights are here."""
    from ..show import show as look
    from . import card

    shown = look(model)
    if json_:
        typer.echo(shown.model_dump_json(indent=2))
    else:
        card.print_card(shown)


@app.command()
def fetch(
    model: Annotated[str, typer.Argument(metavar="MODEL[@REVISION]", help="A model of the hub: org/name.")],
    json_: Json = False,
) -> None:
    """Fetch a model with its weights from the Hugging Face hub."""
    from ..catalogue import named_at_hub
    from ..hub.fetch import fetch as get
    from . import progress, tables

    name = named_at_hub(model)
    with progress.fetch_reporter(str(name)) as on_progress:
        folder = get(*name, on_progress)
    tables.print_fetched(name, folder, as_json=json_)


@app.command()
def probe(json_: Json = False) -> None:
    """Print what this machine is: CPU, memory, accelerators, software."""
    from ...probes.machine import probe as look
    from . import tables

    machine = look()
    if json_:
        typer.echo(machine.model_dump_json(indent=2))
    else:
        tables.print_machine(machine)


@app.command()
def verify(  # noqa: PLR0913 - each is an option of the command
    architectures: Annotated[
        list[str] | None, typer.Argument(help="Which kinds of pipeline, such as sd or flux [default: all].")
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="Also every two choices together, which takes hours.")] = False,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after this; the same command goes on.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file of rows [default: in the cache].")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again what the file has.")] = False,
    json_: Json = False,
) -> None:
    """Check on small pipelines what every knob really does here."""
    from ...search.verify.findings import differences
    from ...store.places import cache_dir
    from ..verify import Wanted
    from ..verify import verify as check
    from . import verification

    file = output or cache_dir() / "verification.jsonl"
    wanted = Wanted(tuple(architectures or ()), pairs, minutes, fresh)
    rows = check(wanted, file, verification.say_row_json if json_ else verification.say_row)
    if not json_:
        verification.print_verification(rows, file)
    raise typer.Exit(3 if differences(rows) else 0)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Where to listen: this machine's own addresses only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes any that is free.")] = 8377,
) -> None:
    """Answer apps that ask for a plan, over HTTP, until Ctrl-C."""
    from ..daemon.serve import serve as listen

    listen(host, port)


def _refuse_options(context: typer.Context) -> None:
    """Refuse options before a command: they would be left out without a word."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE" and name != "debug":
            option = "--" + name.rstrip("_").replace("_", "-")
            command = f"autotune {context.invoked_subcommand}"
            msg = f"{option} stands before a command, where it is left out: see `{command} --help` for what it takes."
            raise UsageError(msg)


def _request(  # noqa: PLR0913 - as many as the command has
    model: str,
    budget: str,
    tolerance: str,
    size: str,
    steps: int | None,
    batch: int | None,
    scorer: Path | None,
    *,
    fresh: bool,
) -> Request:
    from ..tune import Request
    from .amounts import parse_budget, parse_share, parse_size

    budget_s, most_trials = parse_budget(budget) if budget else (None, None)
    width, height = parse_size(size) if size else (None, None)
    return Request(
        model=model,
        budget_s=budget_s,
        most_trials=most_trials,
        tolerance=parse_share(tolerance),
        width=width,
        height=height,
        steps=steps,
        batch=batch,
        scorer=scorer,
        fresh=fresh,
    )


def _tune(request: Request, *, as_json: bool) -> int:
    """Tune, showing how it goes, and return the exit code."""
    from ..tune import tune
    from . import progress, tables

    with progress.reporter(as_json=as_json) as on_event:
        result = tune(request, on_event)
    if as_json:
        progress.say_done(result)
    else:
        tables.print_result(result)
    return _exit_code(result)


def _exit_code(result: Result) -> int:
    if result.interrupted:
        return _INTERRUPTED_BY[-1]
    return 0 if result.plan else 3


def _dry_run(request: Request, *, as_json: bool) -> None:
    from ...probes.machine import probe as look
    from ...search.space import space_for
    from ..tune import task_of
    from . import tables

    task, budget_s = task_of(request, look())
    tables.print_dry_run(task, space_for(task.setting), budget_s, as_json=as_json)


_INTERRUPTED_BY = [130]


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends as Ctrl-C does, with a code of its own."""
    del number, frame
    _INTERRUPTED_BY.append(143)
    raise KeyboardInterrupt


def _of_click(error: Exception) -> str:
    """Return the sentence of a usage error that the option parser found."""
    message = getattr(error, "format_message", None)
    return f"{message().rstrip('.')}. See `autotune --help`." if message else ""


def _report(error: Exception) -> str:
    """Write what happened to a file, and return the sentence that says so."""
    from ...store.places import state_dir

    text = "".join(traceback.format_exception(error))
    try:
        file = state_dir() / "last-error.txt"
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
    except (OSError, AutotuneError):
        return f"autotune failed, which is a bug in it: {text}"
    return f"autotune failed, which is a bug in it ({type(error).__name__}: {error}). The details are in {file}."


def _hang_up() -> NoReturn:
    """Leave as the system's own tools do when whoever read their output has had enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush goes nowhere
    sys.exit(128 + signal.SIGPIPE)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"autotune: {message}", err=True)
    sys.exit(code)
