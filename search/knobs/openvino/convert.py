"""From calls of a torch module to an OpenVINO graph on disk, quantized by NNCF where that is asked for."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pipeline import call_pipeline
from .merging import merged_by_rows
from .parts import is_large
from .run import GRAPH_FILE, LAYOUT_FILE, Layout, no_telemetry, quietly, rows_of, tensors_in

if TYPE_CHECKING:
    from ...workload import Workload
    from ..knob import Bench
    from .parts import Graphed, Part

CALIBRATION_CALLS = 12
LARGE_CALIBRATION_CALLS = 4  # the statistics of one row of SD 1.5's UNet took 49 s on two shared cores
LAYERS = ("Convolution", "MatMul")
SMOOTH_ALPHA = 0.15
GROUP_SIZE = 64  # divides the 320 channels of an SD UNet, as NNCF's 128 does not


@dataclass(frozen=True)
class Call:
    """A call as it was made: its arguments, and how what it returned was laid out."""

    arguments: tuple[Any, Any]
    layout: Layout

    def rows(self) -> list[Call]:
        """Return the call as one for each row of its batch."""
        import torch
        from torch.utils import _pytree

        leaves, structure = _pytree.tree_flatten(self.arguments)
        places = [index for index, leaf in enumerate(leaves) if torch.is_tensor(leaf)]
        found = []
        for row in rows_of([leaves[place] for place in places]):
            filled = dict(enumerate(leaves)) | dict(zip(places, row, strict=True))
            found.append(Call(_pytree.tree_unflatten(filled.values(), structure), self.layout))
        return found


def recorded(
    pipe: Any, parts: list[Part], workload: Workload, bench: Bench, *, thorough: bool
) -> dict[Part, list[Call]]:
    """Return calls of the parts, from real denoising: a few, or as many as it takes to calibrate with.

    thorough: all calibration prompts, with no more steps than give each part its calls. A large denoiser is called
    for one prompt, so that its few calls are at different steps: how few are enough was measured on `shapes` alone.
    """
    large = is_large(bench.card)
    prompts = bench.calibration_prompts if thorough and not large else bench.calibration_prompts[:1]
    wanted = LARGE_CALIBRATION_CALLS if large else CALIBRATION_CALLS
    steps = math.ceil(wanted / len(prompts)) if thorough else 2
    shorter = workload.model_copy(update={"steps": min(workload.steps, steps)})
    calls: dict[Part, list[Call]] = {part: [] for part in parts}
    for part in parts:
        _record(part.module(pipe), part.method, calls[part])
    for index, prompt in enumerate(prompts):
        call_pipeline(pipe, shorter, prompt, seed=index)
    for part in parts:
        delattr(part.module(pipe), part.method)
    return calls


def _record(module: Any, method: str, calls: list[Call]) -> None:
    """Let a method of one module note its calls, until the attribute is deleted again."""
    import torch
    from torch.utils import _pytree

    original = getattr(module, method)

    def noted(*args: Any, **kwargs: Any) -> Any:
        copies = _pytree.tree_map(lambda leaf: leaf.clone() if torch.is_tensor(leaf) else leaf, (args, kwargs))
        result = original(*args, **kwargs)
        calls.append(Call(copies, _layout(result)))
        return result

    setattr(module, method, noted)


def _layout(result: Any) -> Layout:
    """Return the names of what a call returned, each with how many tensors it is, 0 for a tensor by itself."""
    import torch

    named = result.items() if hasattr(result, "items") else enumerate(result)
    return [(str(name), 0 if torch.is_tensor(value) else len(value)) for name, value in named if value is not None]


def converted(graphed: Graphed, pipe: Any, calls: list[Call]) -> tuple[Any, Layout]:
    """Return the graph of a part and the layout of what it returns."""
    calls = calls[:: math.ceil(len(calls) / CALIBRATION_CALLS)]
    if graphed.by_row:
        calls = [row for call in calls for row in call.rows()]
    graph = _traced(graphed.part.module(pipe), graphed.part.method, calls[0])
    if graphed.calibrated:
        graph = _quantized(graph, calls, transformer=graphed.part.method == "forward")
    elif graphed.quantization in {"nncf_int8_weights", "nncf_int4_weights"}:
        graph = _compressed(graph, str(graphed.quantization))
    return graph, calls[0].layout


def _traced(module: Any, method: str, call: Call) -> Any:
    """Return the OpenVINO graph of a method, traced from one call, with the shapes of that call."""
    import torch
    from torch.utils import _pytree

    leaves, structure = _pytree.tree_flatten(call.arguments)
    places = [index for index, leaf in enumerate(leaves) if torch.is_tensor(leaf)]

    class Traced(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: Any) -> Any:
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            args, kwargs = _pytree.tree_unflatten(filled, structure)
            found = tuple(tensors_in(getattr(self.module, method)(*args, **kwargs)))
            return found[0] if len(found) == 1 else found

    tensors = tuple(leaves[place] for place in places)
    openvino = quietly("openvino")
    with torch.no_grad(), no_telemetry(), merged_by_rows():
        graph = openvino.convert_model(Traced().eval(), example_input=tensors)
    graph.reshape({index: openvino.PartialShape(list(tensor.shape)) for index, tensor in enumerate(tensors)})
    return graph


def _quantized(graph: Any, calls: list[Call], *, transformer: bool) -> Any:
    """Return the graph with weights and activations in int8, calibrated on real denoising steps.

    Of a denoiser, the first and the last layer are left alone, and SmoothQuant moves little from activations to
    weights: on `shapes` the error of a denoiser's call is 2.1 % so, and 3.3 % with NNCF's defaults (bf16 alone: 0.5 %).
    Twice as many calls make it no smaller. `benchmarks/nncf_error.py` measures these.
    """
    nncf = quietly("nncf")
    layers = [op.get_friendly_name() for op in graph.get_ordered_ops() if op.get_type_name() in LAYERS]
    smooth = nncf.AdvancedSmoothQuantParameters(matmul=SMOOTH_ALPHA)
    samples = [[tensor.numpy() for tensor in tensors_in(call.arguments)] for call in calls]
    with no_telemetry():
        return nncf.quantize(
            graph,
            nncf.Dataset(samples),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=nncf.IgnoredScope(names=[layers[0], layers[-1]]),
            advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=smooth),
        )


def _compressed(graph: Any, kind: str) -> Any:
    """Return the graph with its weights alone in int8, or in int4 in groups; they are computed with in full.

    A layer whose channels no group size divides keeps int8.
    """
    nncf = quietly("nncf")
    if kind == "nncf_int8_weights":
        with no_telemetry():
            return nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_ASYM)
    smaller = nncf.AdvancedCompressionParameters(group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST)
    with no_telemetry():
        return nncf.compress_weights(
            graph, mode=nncf.CompressWeightsMode.INT4_ASYM, group_size=GROUP_SIZE, advanced_parameters=smaller
        )


def save(graph: Any, layout: Layout, folder: Path) -> None:
    """Write a graph so that it is there whole or not at all, whoever else builds it at the same time."""
    openvino = quietly("openvino")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    openvino.save_model(graph, draft / GRAPH_FILE, compress_to_fp16=False)
    (draft / LAYOUT_FILE).write_text(json.dumps(layout), encoding="utf-8")
    try:
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft)
        if not folder.exists():
            raise
