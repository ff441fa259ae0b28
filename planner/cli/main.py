"""The commands. What they print is in `tables` and `progress`, what they do is in the rest of the planner."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ...errors import AutotuneError, UsageError
from . import asking, doctor, jobs, lab, looking, recorded
from .options import (
    Also,
    Batch,
    Budget,
    Distilled,
    Fidelity,
    Force,
    Frames,
    Goal,
    Guidance,
    Images,
    Json,
    Lora,
    Prompts,
    Size,
    Steps,
    Weights,
    request_of,
)

if TYPE_CHECKING:
    from types import FrameType

    from ..request import Request
    from ..tune import Result

app = typer.Typer(
    name="autotune",
    help="Find, by measuring, the fastest way to run a diffusers pipeline here that keeps its image quality.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Change(StrEnum):
    """What of the model itself may be changed."""

    distilled = "distilled"


class LogFormat(StrEnum):
    """How a log is written."""

    text = "text"
    json = "json"


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
            help="What to tune: a short name (shapes, flux-dev), a folder in diffusers format, a file (.safetensors, "
            ".gguf), or org/name[@revision] at the hub."
        ),
    ] = "",
    budget: Budget = "",
    tolerance: Annotated[str, typer.Option(help="How much of the baseline's CLIP score may be lost.")] = "1%",
    size: Size = "",
    steps: Steps = None,
    batch: Batch = None,
    frames: Frames = None,
    guidance: Guidance = None,
    prompts: Prompts = None,
    scorer: Annotated[Path | None, typer.Option(help="Folder of the CLIPModel that judges the images.")] = None,
    also: Also = None,
    fidelity: Fidelity = None,
    objective: Goal = None,
    images: Images = None,
    lora: Lora = None,
    allow: Annotated[list[Change] | None, typer.Option(help="What else may be changed: distilled variants.")] = None,
    distilled: Distilled = None,
    weights: Weights = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, though this was tuned or begun before.")] = False,
    force: Force = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be tried, and try nothing.")] = False,
    json_: Json = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Tune a model (`--model NAME`) for calls of a size, steps and so on, or run one of the commands below.

    What is not said of the calls is as the model's page or its configuration has it: `autotune show NAME` prints it.
    """
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
    request = request_of(model, size, steps, batch, frames, guidance, prompts)
    request = replace(request, lora=tuple(lora or ()), allow=tuple(allow or ()), distilled=tuple(distilled or ()))
    request = replace(request, **_amounts(budget, tolerance), scorer=scorer, also=tuple(also or ()))
    request = replace(request, fidelity=str(fidelity or ""))
    request = replace(request, objective=str(objective or "latency"), images=images, weights=str(weights or ""))
    request = replace(request, fresh=fresh, force=force)
    if dry_run:
        _dry_run(request, as_json=json_)
    else:
        raise typer.Exit(_tune(request, as_json=json_))


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
    socket: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Also listen at a socket in a folder, for this user alone.")
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="How the log on standard error is written; json: an object a line.")
    ] = LogFormat.text,
) -> None:
    """Answer apps that ask for a plan, over HTTP, until Ctrl-C."""
    from ..daemon.serve import serve as listen

    listen(host, port, socket, log_form=log_format.value)


@app.command()
def status(json_: Json = False) -> None:
    """Say how the daemon of this machine is."""
    from ..client import Client

    health = Client().health()
    if json_:
        typer.echo(health.model_dump_json(indent=2))
        return
    typer.echo(f"autotune {health.version} answers as process {health.pid} since {health.uptime_s:.0f} s.")
    for problem in health.problems:
        typer.echo(problem)


@app.command()
def stop() -> None:
    """End the daemon that lives on this machine."""
    from ..daemon.stop import stop as end

    typer.echo(f"The daemon at {end().address} has ended.")


OTHERS = (
    *(asking.plan, asking.estimate, asking.explain, asking.show, asking.probe),
    *(recorded.replay, recorded.export_trials, doctor.doctor),
    *(looking.report, looking.compare, looking.dashboard, looking.spot),
    lab.sweep,
)
for command in OTHERS:
    app.command()(command)
app.add_typer(jobs.app, name="jobs")


def _refuse_options(context: typer.Context) -> None:
    """Refuse options before a command: they would be left out without a word."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE" and name != "debug":
            option = "--" + name.rstrip("_").replace("_", "-")
            command = f"autotune {context.invoked_subcommand}"
            msg = f"{option} stands before a command, where it is left out: see `{command} --help` for what it takes."
            raise UsageError(msg)


def _amounts(budget: str, tolerance: str) -> dict[str, Any]:
    from .amounts import parse_budget, parse_share

    budget_s, most_trials = parse_budget(budget) if budget else (None, None)
    return {"budget_s": budget_s, "most_trials": most_trials, "tolerance": parse_share(tolerance)}


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
    from ..request import task_of
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
