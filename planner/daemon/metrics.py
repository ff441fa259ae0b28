"""What the daemon has done, in the text form that Prometheus reads. Names have base units, labels few values.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format, version 0.0.4)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Metric:
    """A metric and its samples: a value for each set of labels."""

    name: str
    kind: str
    says: str
    samples: Mapping[tuple[tuple[str, str], ...], float]


def metric(name: str, kind: str, says: str, values: Mapping[str, float] | float, label: str = "") -> Metric:
    """Return a metric of one value, or of one for each value of a label."""
    if isinstance(values, int | float):
        return Metric(name, kind, says, {(): values})
    return Metric(name, kind, says, {((label, said),): value for said, value in values.items()})


def exposition(metrics: Iterable[Metric]) -> str:
    """Return the text that Prometheus reads."""
    lines: list[str] = []
    for each in metrics:
        lines += [f"# HELP {each.name} {each.says}", f"# TYPE {each.name} {each.kind}"]
        lines += [f"{each.name}{_labels(labels)} {value!r}" for labels, value in each.samples.items()]
    return "\n".join(lines) + "\n"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    said = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{said}}}" if said else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
