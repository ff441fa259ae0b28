"""The commands for people who would rather look: the pages, a report, and blind pairs."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError
from .options import Json

if TYPE_CHECKING:
    from ..pages.report import Form

PATIENCE_S = 20.0
"""A daemon that starts at this moment answers a little later."""

FORMS: dict[str, Form] = {".html": "html", ".htm": "html", ".md": "md"}


def report(
    model: Annotated[str, typer.Argument(help="The model, as it was tuned.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file, .html or .md [default: Markdown, printed].")
    ] = None,
    *,
    json_: Json = False,
) -> None:
    """Write what came of the newest tuning as one page."""
    from ..pages.report import account
    from ..pages.report import report as write

    form = FORMS.get(output.suffix.lower()) if output else "md"
    if form is None:
        msg = f"A report is .html or .md, and {output} is neither."
        raise UsageError(msg)
    told = account(model)
    text = told.model_dump_json(indent=2) if json_ else write(told, form)
    if output is None:
        typer.echo(text.rstrip("\n"))
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"{output} cannot be written: {error.strerror}."
        raise UsageError(msg) from error
    typer.echo(f"{told.headline}\nWritten to {output}.", err=json_)


def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A model, a run by its name, or a file that `report --json` wrote.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one, of this machine or of any.")],
    json_: Json = False,
) -> None:
    """Compare two tunings: machines, dates, versions."""
    from ..compare import compare as beside
    from .tables import print_comparison

    found = beside(a, b)
    if json_:
        typer.echo(found.model_dump_json(indent=2))
    else:
        print_comparison(found)


def dashboard(
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser, or only print the address.")] = True,
) -> None:
    """Open the daemon's pages in a browser."""
    _open("/", show=show)


def spot(
    model: Annotated[str, typer.Argument(help="The model, as it was tuned.")],
    turns: Annotated[
        list[str] | None,
        typer.Argument(metavar="KNOB=CHOICE", help="Show this recipe [default: the newest plan]."),
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="In the place of the model's own. Can be repeated.")] = None,
    pairs: Annotated[int, typer.Option(help="Pairs to judge, beside four that check who judges.")] = 40,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser, or only print the address.")] = True,
) -> None:
    """Spot the quantized model in blind pairs."""
    from ..spot.make import Asked, make_set

    def said(done: int, total: int) -> None:
        typer.echo(f"\r{done} of {total} images", nl=done == total, err=True)

    blind = make_set(Asked(model, turns=turns or (), prompts=prompt or (), pairs=pairs), said)
    _open(f"/blind/{blind.id}", show=show)


def _open(path: str, *, show: bool) -> None:
    """Open a page of the daemon; where none lives, this process is it until Ctrl-C."""
    from ..client import Client
    from ..daemon.serve import serve
    from ..daemon.state import read_state

    def go() -> None:
        address = Client(timeout_s=PATIENCE_S).door(path)
        typer.echo(f"{address}\nThis address opens once, within a minute.")
        if show:
            typer.launch(address)

    if read_state():
        go()
    else:
        serve(port=0, say=lambda _: Thread(target=go, daemon=True).start())
