"""`autotune doctor`: what is wrong here, for people and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json

if TYPE_CHECKING:
    from ..doctor import Diagnosis


def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="Bring a damaged store back to its last good state, and say what is lost.")
    ] = False,
    json_: Json = False,
) -> None:
    """Look for what is wrong here, and mend the store.

    Store, copies, file modes, disk, versions, daemon and token are looked at. The exit code is 0 if nothing is, else
    that of the first problem.
    """
    from ..doctor import diagnose, mend

    mended = mend() if repair else None
    found = diagnose().model_copy(update={"repaired": mended})
    if json_:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found)
    raise typer.Exit(found.exit_code)


def _print(found: Diagnosis) -> None:
    done = found.repaired
    if done:
        kept = ", ".join(f"{count} {table}" for table, count in done.kept.items()) or "nothing"
        typer.echo(f"The store was repaired. What was sound in it: {kept}.")
        if done.put_back:
            put_back = ", ".join(f"{count} {table}" for table, count in done.put_back.items())
            typer.echo(f"From the copy {done.copy_used}: {put_back}.")
        for sentence in done.lost or ("Nothing is lost.",):
            typer.echo(sentence)
        if done.set_aside:
            typer.echo(f"The damaged file is kept as {done.set_aside}.")
        typer.echo("")
    for finding in found.findings:
        mark = {"good": "ok", "warning": "note", "problem": "WRONG"}[finding.state]
        typer.echo(f"{mark:6}{finding.check:9} {finding.says}")
