"""OpenVINO: the text encoders, the denoiser and the VAE's decoding as static graphs, optionally quantized by NNCF.

A part is converted from one real call of it, so that any pipeline's can be: the tensors of the call become inputs,
everything else is fixed. Where guidance ends early, the denoiser is called with two batch sizes and has a graph for
each; where features are cached, one for its whole and one for its shallow half. Converted graphs are artifacts: made
once, in a process of their own, and read by every later trial and by the app.

Source: https://docs.openvino.ai (convert_model, CPU device, inference precision);
https://docs.openvino.ai (NNCF post-training quantization, weight compression).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...pipeline import load_pipeline
from .convert import converted, recorded, save
from .parts import Part, parts_of
from .run import StaticGraph

if TYPE_CHECKING:
    from pathlib import Path

    from ....probes.model import Component
    from ..knob import Bench, Choices


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return empty shells for the components that become graphs, so that their weights are not read for nothing."""
    names = {graphed.part.component for graphed in parts_of(choices, bench)}
    return {each.name: _shell(each, bench.card.folder) for each in bench.card.components if each.name in names}


def build(choices: Choices, bench: Bench) -> None:
    """Convert what these choices need and is not there yet. Takes the memory of the pipeline in fp32, and more."""
    missing = [each for each in parts_of(choices, bench) if not each.folder(bench).exists()]
    if not missing:
        return
    pipe = _plain_pipeline(choices, bench)
    for workload in dict.fromkeys(each.workload for each in missing):
        group = [each for each in missing if each.workload == workload]
        calls = recorded(
            pipe, [each.part for each in group], workload, bench, thorough=any(e.calibrated for e in group)
        )
        for each in group:
            graph, layout = converted(each, pipe, calls[each.part])
            save(graph, layout, each.folder(bench))


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Put the compiled graphs in the place of the torch modules."""
    from .stand_in import StandIn

    build(choices, bench)
    folders: dict[Part, list[Path]] = {}
    for each in parts_of(choices, bench):
        folders.setdefault(each.part, []).append(each.folder(bench))
    for part, places in folders.items():
        graphs = [StaticGraph(place, str(choices["precision"])) for place in places]
        stand_in = StandIn(getattr(pipe, part.component), part.method, graphs, _original(part, choices, bench))
        setattr(pipe, part.component, stand_in)


def _original(part: Part, choices: Choices, bench: Bench) -> Callable[[], Any]:
    return lambda: part.module(_plain_pipeline(choices, bench))


def _plain_pipeline(choices: Choices, bench: Bench) -> Any:
    """Return the pipeline in fp32, with token merging if chosen: what is converted."""
    import torch

    from ..tome import TOME_RATIO

    pipe = load_pipeline(bench.card, dtype=torch.float32)
    if choices["tome_ratio"]:
        TOME_RATIO.apply(pipe, choices, bench)
    return pipe


def _shell(component: Component, folder: str) -> Any:
    """Return a component of the right class and configuration without weights."""
    import torch

    kind = getattr(importlib.import_module(component.library), component.class_name)
    if component.library == "diffusers":
        config = kind.load_config(folder, subfolder=component.name, local_files_only=True)
        build_from = kind.from_config
    else:
        config = kind.config_class.from_pretrained(folder, subfolder=component.name, local_files_only=True)
        build_from = kind
    with torch.device("meta"):
        return build_from(config)


__all__ = ["apply", "build", "loads"]
