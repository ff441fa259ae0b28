"""The command for labs: a sweep over the machines of a Ray cluster, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def sweep(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="LAB.TOML | report [NAME] | export FOLDER",
            help="What to sweep, to report, or to fill with plan files.",
        ),
    ],
    address: Annotated[
        str, typer.Option(help="The Ray cluster: auto, HOST:PORT or ray://HOST:PORT; local starts one here.")
    ] = "local",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="With report: .html, .md, .csv, .json, .parquet [default: Markdown, printed]."
        ),
    ] = None,
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure all again, though it was swept before.")] = False,
) -> None:
    """Tune many models on the machines of a lab.

    The same command goes on after a stop.
    """
    if what[0] == "report" and len(what) <= 2:
        _report(what[1] if len(what) == 2 else "", output)
        return
    if what[0] == "export" and len(what) == 2 and not output:
        _export(Path(what[1]))
        return
    if len(what) != 1 or output:
        msg = "One lab is swept at a time: `autotune sweep lab.toml`; -o belongs to `autotune sweep report`."
        raise UsageError(msg)
    raise typer.Exit(_sweep(Path(what[0]), address, fresh=fresh))


def _sweep(file: Path, address: str, *, fresh: bool) -> int:
    from ...store.store import Store
    from ..lab.engine import RayEngine
    from ..lab.places import journal_of, store_file
    from ..lab.sweep import Sweep
    from ..lab.wanted import read_lab

    lab = read_lab(file)
    with RayEngine(address) as engine:
        from ..lab.machines import refuse_missing

        refuse_missing(engine.nodes(), lab.machine)
        journal, again = journal_of(lab, fresh=fresh)
        if journal.ended:
            typer.echo("This was swept to its end: see `autotune sweep report`, or measure all again with --fresh.")
            return 0
        with Store.open(store_file()) as store:
            ended = Sweep(journal, store, engine, lambda said: typer.echo(said, err=True)).run(again=again)
    typer.echo("`autotune sweep report` has the result." if ended else "Jobs are left: the same command goes on.")
    return 0 if ended else 3


def _export(folder: Path) -> None:
    from ...store.store import Store
    from ..lab.places import store_file
    from ..parcel import write_parcels

    with Store.read(store_file()) as store:
        files = write_parcels(store, folder)
    typer.echo(f"{len(files)} files are in {folder}: `autotune plan import` takes them in elsewhere.")


def _report(name: str, output: Path | None) -> None:
    from ...store.store import Store
    from ..lab.places import store_file
    from ..lab.result import newest, told
    from ..lab.tables import as_csv, as_parquet
    from ..pages.render import STATIC, render

    found = newest(name)
    with Store.read(store_file()) as store:
        result = told(found[0], store, found[1] if len(found) > 1 else None)
    forms: dict[str, Callable[[], bytes]] = {
        ".html": lambda: render(
            "sweep.html", told=result, style=(STATIC / "style.css").read_text(encoding="utf-8")
        ).encode(),
        ".md": lambda: render("sweep.md", told=result).encode(),
        ".csv": lambda: as_csv(result.rows),
        ".json": lambda: result.model_dump_json(indent=2).encode(),
        ".parquet": lambda: as_parquet(result.rows),
    }
    form = forms.get(output.suffix.lower() if output else ".md")
    if form is None:
        msg = f"The report of a sweep is .html, .md, .csv, .json or .parquet, and {output} is none of them."
        raise UsageError(msg)
    content = form()
    if output is None:
        typer.echo(content.decode().rstrip("\n"))
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        msg = f"{output} cannot be written: {error.strerror}."
        raise UsageError(msg) from error
    typer.echo(f"{result.headline}\nWritten to {output}.")
