"""`autotune jobs`: work that the daemon does, one job after the other."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..said import said_s
from .options import Batch, Frames, Guidance, Json, Size, Steps, workload_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..jobs.client import Jobs
    from ..jobs.wire import JobNow

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id, or the beginning of it that no other has.")]

app = typer.Typer(help="Let the daemon tune, one job after the other.", rich_markup_mode=None)


class Kind(StrEnum):
    """What is to be done."""

    tune = "tune"
    verify = "verify"
    recheck = "recheck"
    spot = "spot"


@app.command()
def add(  # noqa: PLR0913 - each is an option of the command
    what: Annotated[str, typer.Argument(help="A model; to recheck, a plan; to verify, an architecture.")] = "",
    kind: Annotated[Kind, typer.Option(help="What is to be done.")] = Kind.tune,
    budget: Annotated[str, typer.Option(help="At most this much: 90s, 20m, 1h or 40trials.")] = "",
    size: Size = "",
    steps: Steps = None,
    batch: Batch = None,
    frames: Frames = None,
    guidance: Guidance = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, though this was done or begun before.")] = False,
    idle_only: Annotated[
        bool, typer.Option("--idle-only", help="Wait while other programs use the GPU or the CPU.")
    ] = False,
    json_: Json = False,
) -> None:
    """Ask for a job. What is asked for already is the same job."""
    from .amounts import parse_budget

    budget_s, most_trials = parse_budget(budget) if budget else (None, None)

    named: dict[Kind, dict[str, Any]] = {
        Kind.tune: {"model": what},
        Kind.recheck: {"plan": what},
        Kind.spot: {"model": what},
        Kind.verify: {"architectures": tuple(what.split())},
    }
    workload = workload_of(size, steps, batch, frames, guidance)
    amounts = {"budget_s": budget_s, "most_trials": most_trials, "fresh": fresh, "idle_only": idle_only}
    _print(_daemon().add(kind=kind.value, **named[kind], **workload, **amounts), as_json=json_)


@app.command("list")
def list_(json_: Json = False) -> None:
    """Print every job that is remembered."""
    for job in _daemon().list():
        _print(job, as_json=json_)


@app.command()
def watch(job: JobId, json_: Json = False) -> None:
    """Print what happens in a job, until it is over."""
    import json

    daemon = _daemon()
    job_id = _found(job).id
    for event in daemon.follow(job_id):
        typer.echo(json.dumps(event) if json_ else _line(event))


def _telling(command: str, says: str) -> Callable[..., None]:
    def tell(job: JobId, json_: Json = False) -> None:
        _print(_daemon().tell(_found(job).id, command), as_json=json_)  # type: ignore[arg-type]  # one of the four

    tell.__doc__ = says
    return tell


for _command, _says in (
    ("pause", "Let the trial that runs end, and wait until the job is resumed."),
    ("resume", "Let a paused job go on where it was."),
    ("stop", "Let the trial that runs end, and conclude with what was found."),
    ("cancel", "End a job at once, with every process that it has started."),
):
    app.command(_command)(_telling(_command, _says))


def _daemon() -> Jobs:
    from ..client import Client

    return Client(timeout_s=10.0).jobs


def _found(beginning: str) -> JobNow:
    from ...errors import UsageError

    found = [job for job in _daemon().list() if job.id.startswith(beginning)]
    if len(found) != 1:
        msg = f"{len(found) or 'No'} jobs begin with {beginning!r}: `autotune jobs list` prints them."
        raise UsageError(msg)
    return found[0]


def _print(job: JobNow, *, as_json: bool) -> None:
    if as_json:
        typer.echo(job.model_dump_json())
        return
    order = job.order
    what = order.model or order.plan or " ".join(order.architectures) or "all"
    done = f"{job.trials} trials, {said_s(job.spent_s)}"
    typer.echo(f"{job.id}  {job.state:<9}  {order.kind} {what}, {done}  {job.detail}".rstrip())


def _line(event: dict[str, Any]) -> str:
    shown = {name: said for name, said in event.items() if name not in {"number", "at", "event", "spent_s"}}
    if trial := shown.get("trial"):
        latency = sorted((trial.get("latency") or {}).get("samples_ms", ()))
        median = f"{latency[len(latency) // 2]:.0f} ms" if latency else "-"
        recipe = trial.get("recipe", {}).get("turned", "")
        return f"{trial['number'] + 1:3d}  {median:>8}  {trial.get('outcome', '')}  {recipe}"
    said = (f"{name} {fact}" for name, fact in shown.items() if isinstance(fact, str | int) and fact != "")
    return f"{event['event']}: {', '.join(said)}"
