"""What would fit, for people, on standard output."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..choose import said_bytes
from ..estimate import said_room

if TYPE_CHECKING:
    from ..estimate import Estimate, Option


def print_estimate(estimate: Estimate) -> None:
    """Print each way to run the model, the best first, and which is the first that fits."""
    console = _console()
    console.print(f"{estimate.model} on {estimate.device}, {estimate.workload}; free: {said_room(estimate)}")
    table = Table("recipe", "peak", "between", "RAM", "fits", "known", box=None, pad_edge=False, header_style="bold")
    for column in (1, 2, 3):
        table.columns[column].justify = "right"
    for option in estimate.options:
        table.add_row(*_row(option), style="" if option.fits else "dim")
    console.print(table)
    for recipe, because in estimate.refused.items():
        console.print(f"not here: {recipe}: {because}", soft_wrap=True, style="dim")
    for note in estimate.notes:
        console.print(note, soft_wrap=True)
    best = estimate.best
    if best is None:
        console.print("Nothing of this fits: a smaller size, a smaller model or more memory is needed.")
    else:
        console.print(f"Begin with {best.recipe}: {best.because}.", soft_wrap=True)
    console.print("Peaks are predicted but where it says otherwise; a tuning tries what it likes with --force.")


def print_predicted(estimate: Estimate) -> None:
    """Print the plan to begin with where nothing has been measured yet."""
    console = _console()
    best = estimate.best
    if best is None:
        least = min(estimate.options, key=lambda option: option.need.peak_bytes)
        console.print(
            f"{estimate.model}: nothing fits into {said_room(estimate)}, as far as can be predicted; "
            f"{least.recipe} needs least, {said_bytes(least.need.peak_bytes)}.",
            soft_wrap=True,
        )
        return
    console.print(f"{estimate.model}: {best.recipe}")
    console.print(f"Predicted, not measured: {best.because}.", soft_wrap=True)
    host = f" and {said_bytes(best.need.host_bytes)} of RAM" if best.need.host_bytes else ""
    console.print(
        f"It needs {said_bytes(best.need.peak_bytes)}{host}, most of it to {best.need.worst_phase}; "
        f"free are {said_room(estimate)}.",
        soft_wrap=True,
    )
    for note in estimate.notes:
        console.print(note, soft_wrap=True)
    console.print(f"`autotune --model {estimate.model}` measures what is fastest here.")


def predicted_json(estimate: Estimate) -> str:
    """Return the same as JSON: what to apply, and that it is predicted."""
    best = estimate.best
    content = {
        "schema_version": 1,
        "model": estimate.model,
        "known": "predicted",
        "fits": best is not None,
        "apply": best.recipe.turned if best else {},
        "reason": best.because if best else f"nothing fits into {said_room(estimate)}",
        "needs_bytes": best.need.peak_bytes if best else None,
        "free_bytes": estimate.free_bytes,
        "estimate": json.loads(estimate.model_dump_json()),
    }
    return json.dumps(content, indent=2)


def _row(option: Option) -> tuple[str, ...]:
    need = option.need
    return (
        str(option.recipe),
        said_bytes(need.peak_bytes),
        f"{said_bytes(need.low_bytes)} to {said_bytes(need.high_bytes)}",
        said_bytes(need.host_bytes) if need.host_bytes else "",
        "yes" if option.fits else "no",
        option.known,
    )


def _console() -> Console:
    return Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
