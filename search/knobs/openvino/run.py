"""Graphs from disk, compiled, and called with torch's tensors."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

GRAPH_FILE = "graph.xml"
LAYOUT_FILE = "layout.json"

Layout = list[tuple[str, int]]
"""The names of what a call returns, each with how many tensors it is; 0 for a tensor by itself."""


class StaticGraph:
    """A compiled graph that is called with torch tensors and gives back what the torch module would."""

    def __init__(self, folder: Path, precision: str, threads: int = 0) -> None:
        """Compile the graph of a folder for the CPU.

        precision: `fp32` or `bf16`, what it computes in; threads: 0 leaves their number to OpenVINO.
        """
        openvino = quietly("openvino")
        hint = {"fp32": "f32", "bf16": "bf16"}[precision]
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(folder / GRAPH_FILE, "CPU", settings)
        self.precision = precision
        self.bytes = (folder / GRAPH_FILE).with_suffix(".bin").stat().st_size
        self.shapes = [tuple(port.shape) for port in compiled.inputs]
        self._types = [port.element_type.to_dtype() for port in compiled.inputs]
        self._layout: Layout = json.loads((folder / LAYOUT_FILE).read_text(encoding="utf-8"))
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self._request = compiled.create_infer_request()

    def fits(self, tensors: list[Any]) -> bool:
        """Return whether the graph was made for tensors of these shapes."""
        return [tuple(tensor.shape) for tensor in tensors] == self.shapes

    def __call__(self, tensors: list[Any]) -> Outputs:
        """Run the graph."""
        import torch

        inputs = [tensor.float().numpy().astype(kind) for tensor, kind in zip(tensors, self._types, strict=True)]
        results = self._request.infer(inputs, share_inputs=True)
        found = iter([torch.from_numpy(results[index].copy()) for index in range(len(results))])
        return Outputs(
            {name: tuple(next(found) for _ in range(count)) if count else next(found) for name, count in self._layout}
        )


class ByRow:
    """A graph of one row that is called as one of any batch would be: once for each row, one after the other."""

    def __init__(self, row: StaticGraph) -> None:
        """Take the graph of one row."""
        self._row = row
        self.bytes, self.threads = row.bytes, row.threads

    def fits(self, tensors: list[Any]) -> bool:
        """Return whether the rows of these tensors have the shapes that the graph was made for."""
        return all(self._row.fits(row) for row in rows_of(tensors))

    def __call__(self, tensors: list[Any]) -> Outputs:
        """Run the graph for each row, and put the rows of what it returned one below the other."""
        import torch
        from torch.utils import _pytree

        found = [vars(self._row(row)) for row in rows_of(tensors)]
        return Outputs(_pytree.tree_map(lambda *rows: torch.cat(rows), *found))


def rows_of(tensors: list[Any]) -> list[list[Any]]:
    """Return for each row of a batch the tensors of that row.

    The first tensor says how many rows there are; a tensor of another length, or of none, is shared by all of them.
    """
    batch = len(tensors[0])
    return [
        [tensor[row : row + 1] if tensor.ndim and len(tensor) == batch else tensor for tensor in tensors]
        for row in range(batch)
    ]


class Outputs(tuple[Any, ...]):  # noqa: SLOT001 - names are attributes, and which ones a call decides
    """What a call returned: by place, as a tuple has it, and by name, as the libraries' outputs do."""

    def __new__(cls, named: dict[str, Any]) -> Self:
        """Lay out the values in the order of their names."""
        made = super().__new__(cls, named.values())
        made.__dict__.update(named)
        return made

    @property
    def sample(self) -> Any:
        """What diffusers calls the first, where it is asked for a name."""
        return self[0]


def tensors_in(nested: Any) -> list[Any]:
    """Return the tensors of nested arguments or results, in a stable order."""
    import torch
    from torch.utils import _pytree

    return [leaf for leaf in _pytree.tree_leaves(nested) if torch.is_tensor(leaf)]


def quietly(library: str) -> Any:
    """Return a module of OpenVINO or NNCF, imported without telemetry."""
    with no_telemetry():
        return importlib.import_module(library)


@contextlib.contextmanager
def no_telemetry() -> Iterator[None]:
    """Nothing leaves the machine: OpenVINO and NNCF report their import and use, unless they believe to be in CI.

    Source: openvino_telemetry 2025.2, `utils/opt_in_checker.py`; nncf 3.4, `telemetry/wrapper.py`.
    """
    before = {name: os.environ.get(name) for name in ("CI", "NNCF_CI")}
    os.environ.update(dict.fromkeys(before, "true"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
