"""The catalogue as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterator

from ..choose import said_bytes
from .configurations import shipped_composition, shipped_files
from .entries import Entry, shipped


def page() -> str:
    """Return the tables: every model with what its files hold, and who says how many parameters it has."""
    models = {name: entry for name, entry in shipped().items() if entry.hub}
    rows = [_row(name, entry) for name, entry in models.items()]
    sources = [row for name, entry in models.items() for row in _sources(name, entry)]
    head = ["name", "repository", "licence", "denoiser", "parameters", "all its files", "asked for by default"]
    return "\n".join(
        [*_table(head, rows), "", *_table(["model", "component", "built", "published", "source"], sources)]
    )


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _row(name: str, entry: Entry) -> list[str]:
    classes = shipped_files(name)["model_index.json"]
    sizes = {part: shipped_composition(name, part).parameters for part in classes}
    [denoiser] = [part for part in ("transformer", "unet") if part in classes]
    twice = " twice" * bool(sizes.get("transformer_2"))
    total = sum(count * entry.bytes_a_parameter(part) for part, count in sizes.items())
    return [
        f"`{name}`",
        f"[{entry.hub}](https://huggingface.co/{entry.hub}){', gated' * entry.gated}",
        entry.licence,
        classes[denoiser][1],
        f"{sizes[denoiser] / 1e9:.2f} B{twice}",
        said_bytes(total),
        str(entry.workload or ""),
    ]


def _sources(name: str, entry: Entry) -> Iterator[list[str]]:
    for part, said in entry.published.items():
        built = shipped_composition(name, part).parameters
        yield [f"`{name}`", part, f"{built:,}", said.parameters, said.source]
