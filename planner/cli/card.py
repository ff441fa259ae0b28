"""A model's card for people, on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..choose import said_bytes

if TYPE_CHECKING:
    from ..show import Part, Shown


def print_card(shown: Shown) -> None:
    """Print what a model is, what it is made of, and whether it can run here."""
    console = Console(markup=False, emoji=False, highlight=False)
    about = Table(box=None, pad_edge=False, show_header=False)
    about.add_row("model", f"{shown.model}, a {shown.pipeline_class}{_said_kind(shown)}")
    if shown.hub:
        about.add_row("hub", f"{shown.hub}{', gated' if shown.gated else ''}")
    if shown.licence:
        about.add_row("licence", shown.licence)
    if shown.like:
        about.add_row("laid out as", _said_like(shown))
    about.add_row("weights", _said_weights(shown))
    about.add_row("workload", str(shown.workload))
    about.add_row("revision", shown.revision)
    console.print(about)
    table = Table("component", "class", "parameters", "bytes", "blocks", box=None, pad_edge=False, header_style="bold")
    table.columns[2].justify = table.columns[3].justify = "right"
    for part in shown.parts:
        size = (said_count(part.parameters), said_bytes(part.bytes)) if part.parameters else ("", "")
        table.add_row(part.name, part.class_name, *size, _said_blocks(part))
    console.print()
    console.print(table)


def said_count(count: int) -> str:
    """Return a number of parameters for people: `11.90 B`, `859.5 M`."""
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"


def _said_kind(shown: Shown) -> str:
    return f" with a {shown.denoiser}" if shown.denoiser else ""


def _said_blocks_of(shown: Shown) -> str:
    return "; its blocks are expanded to bf16" if shown.file.lower().endswith(".gguf") else ""


def _said_like(shown: Shown) -> str:
    return f"{shown.like}, whose {_listed(shown.elsewhere)} it takes" if shown.elsewhere else shown.like


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _said_weights(shown: Shown) -> str:
    if shown.weights_here:
        return f"{said_bytes(shown.bytes)} in {shown.folder}{_said_blocks_of(shown)}"
    if shown.file:
        return f"{shown.file}, which is not unpacked yet{_said_blocks_of(shown)}"
    return f"not here; {said_bytes(shown.bytes)} to download"


def _said_blocks(part: Part) -> str:
    return ", ".join(f"{block.count} {block.class_name}" for block in part.blocks)
