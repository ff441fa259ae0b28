"""The commands for people who would rather look: a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError
from .options import Json

if TYPE_CHECKING:
    from ..pages.report import Form

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
