"""The commands on recorded tables: searching one that was measured before, and writing one of an own run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...search.replay.evaluator import Search
    from ...search.replay.score import Score
    from ...search.replay.table import Table


def replay(  # noqa: PLR0913 - each is an option of the command
    table: Annotated[Path, typer.Argument(help="A CSV file, one row a measured configuration.")],
    knobs: Annotated[str, typer.Option(help="The columns that identify a row: a,b,c.")],
    objective: Annotated[str, typer.Option(help="The column that is to be small, or one for each of another: a/b.")],
    constraint: Annotated[
        list[str] | None, typer.Option(help="What a row must meet, such as lpips<=0.3. Can be repeated.")
    ] = None,
    cost: Annotated[
        str, typer.Option(help="What a trial costs: a column, or a sum a+b [default: the objective].")
    ] = "",
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Only these rows. Can be repeated.")
    ] = None,
    sampler: Annotated[
        list[str] | None, typer.Option(help="By which sampler [default: ours]. Can be repeated.")
    ] = None,
    budget_cost: Annotated[float | None, typer.Option(help="What a search may cost, in the table's own unit.")] = None,
    trials: Annotated[int, typer.Option(help="Trials of a search, at most.")] = 100,
    repeats: Annotated[int, typer.Option(help="Searches, each with a seed of its own.")] = 100,
    noise_cv: Annotated[float, typer.Option(help="By how much measurements scatter, as a share.")] = 0.03,
    plot: Annotated[Path | None, typer.Option(help="Also draw the searches into this SVG file.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Machine-readable: JSON on standard output.")] = False,
) -> None:
    """Search a recorded table, and score samplers."""
    from ...search.replay.replay import Terms
    from ...search.replay.replay import replay as search
    from ...search.replay.table import read_table
    from ...search.samplers import DEFAULT

    names = [name.strip() for name in knobs.split(",") if name.strip()]
    terms = Terms(trials, budget_cost if budget_cost is not None else float("inf"), repeats, noise_cv)
    read = read_table(table, names, objective, constraints=constraint or (), cost=cost, where=where or ())
    found = {name: search(read, name, terms) for name in sampler or [DEFAULT]}
    _say(read, [each for each, _ in found.values()], as_json=json_)
    if plot:
        _draw(plot, read, {name: searches for name, (_, searches) in found.items()}, trials)


def _say(table: Table, scores: Sequence[Score], *, as_json: bool) -> None:
    import json

    from .scores import print_scores

    if not as_json:
        print_scores(table, scores)
        return
    content = {
        "schema_version": 1,
        "recipes": len(table.rows),
        "feasible": len(table.feasible),
        "best": min(table.feasible.values()),
        "notes": table.notes,
        "scores": [score.model_dump(mode="json") for score in scores],
    }
    typer.echo(json.dumps(content))


def _draw(file: Path, table: Table, searches: dict[str, tuple[Search, ...]], most: int) -> None:
    from ...search.replay.plot import plot

    _write(file, plot(table, searches, most))


class TrialsForm(StrEnum):
    """What trials are written as."""

    csv = "csv"
    optuna = "optuna"


def export_trials(
    model: Annotated[str, typer.Argument(help="The model, as it was tuned.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file [default: standard output].")] = None,
    form: Annotated[
        TrialsForm, typer.Option("--format", help="A table, or a study that `optuna-dashboard sqlite:///FILE` shows.")
    ] = TrialsForm.csv,
) -> None:
    """Write the newest run as a table, or as a study of Optuna."""
    from ..export import trials_table

    if form is TrialsForm.optuna:
        _write_study(model, output)
        return
    text = trials_table(model)
    if output:
        _write(output, text)
    else:
        typer.echo(text, nl=False)


def _write_study(model: str, file: Path | None) -> None:
    from ..study_file import write_study

    if file is None:
        msg = "A study of Optuna is a database: say in which file, with `-o study.db`."
        raise UsageError(msg)
    typer.echo(f"The study {write_study(model, file)!r} is in {file}: `optuna-dashboard sqlite:///{file}` shows it.")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        msg = f"{file} cannot be written: {error.strerror}."
        raise UsageError(msg) from error
