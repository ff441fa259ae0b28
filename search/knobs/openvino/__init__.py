"""OpenVINO: the text encoders, the denoiser and the VAE's decoding as static graphs, optionally quantized by NNCF.

A part is converted from one real call of it, so that any pipeline's can be: the tensors of the call become inputs,
everything else is fixed. Where guidance ends early, the denoiser is called with two batch sizes: a small one has a
graph for each, a large UNet one graph of one row for both. Where features are cached, there is a graph for its whole
and one for its shallow half. Converted graphs are artifacts: made once, in a process of their own, and read by every
later trial and by the app.

Source: https://docs.openvino.ai (convert_model, CPU device, inference precision);
https://docs.openvino.ai (NNCF post-training quantization, weight compression).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....probes.model import weight_files
from ...adapters import add_adapters
from ...pipeline import load_pipeline
from ..deepcache import INTERVALS, DeepCache
from ..threads import wanted
from .convert import converted, recorded, save
from .parts import Graphed, Part, parts_of
from .run import ByRow, StaticGraph
from .shell import shell

if TYPE_CHECKING:
    from ....probes.model import Component, ModelCard
    from ..knob import Bench, Choices


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return empty shells for the components that become graphs, so that their weights are not read for nothing."""
    names = {graphed.part.component for graphed in parts_of(choices, bench)}
    return {each.name: shell(*shell_of(each, bench.card)) for each in bench.card.components if each.name in names}


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
    build(choices, bench)
    graphs: dict[Part, list[Graphed]] = {}
    for each in parts_of(choices, bench):
        graphs.setdefault(each.part, []).append(each)
    for name in {part.component: None for part in graphs}:
        parts = {part: made for part, made in graphs.items() if part.component == name}
        setattr(pipe, name, _running(getattr(pipe, name), parts, choices, bench))


def _running(shell: Any, parts: dict[Part, list[Graphed]], choices: Choices, bench: Bench) -> Any:
    """Return what stands in for one component: it runs the graph of its only part, or has one for each half."""
    from .stand_in import StandIn

    threads = wanted(choices)

    def compiled(made: Graphed) -> StaticGraph | ByRow:
        graph = StaticGraph(made.folder(bench), str(choices["precision"]), threads)
        return ByRow(graph) if made.by_row else graph

    def standing(part: Part, made: list[Graphed]) -> Any:
        graphs = [compiled(each) for each in made]
        return StandIn(shell, part.method, graphs, lambda: part.module(_plain_pipeline(choices, bench)))

    halves = {part.half: standing(part, made) for part, made in parts.items()}
    if "" in halves:
        return halves[""]
    denoiser = standing(Part(bench.card.denoiser.name), [])
    DeepCache(halves["whole"], halves["shallow"], INTERVALS[str(choices["feature_cache"])]).install(denoiser)
    return denoiser


def _plain_pipeline(choices: Choices, bench: Bench) -> Any:
    """Return the pipeline in fp32, with tokens merged and features cached if chosen: what is converted.

    Adapters are fused: they cost nothing then, and are quantized with the weights.
    """
    import torch

    from ..feature_cache import FEATURE_CACHE
    from ..lcm_lora import LCM_LORA
    from ..tome import TOME_RATIO

    pipe = load_pipeline(bench.card, dtype=torch.float32)
    add_adapters(pipe, {**choices, "lora": "fused"}, bench)
    for knob in (LCM_LORA, TOME_RATIO, FEATURE_CACHE):
        if choices[knob.name] != knob.default:
            knob.apply(pipe, choices, bench)
    return pipe


def shell_of(component: Component, card: ModelCard) -> tuple[str, str, str, list[str]]:
    """Return what `shell` takes for a component: library, class, folder and files of weights."""
    place = Path(component.folder or Path(card.folder) / component.name)
    files = [str(file) for file in weight_files(place)] if card.weights == "files" else []
    return component.library, component.class_name, str(place), files


__all__ = ["apply", "build", "loads", "shell_of"]
