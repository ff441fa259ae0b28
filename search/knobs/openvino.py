"""OpenVINO: the denoiser and the VAE's decoder as static graphs, optionally in int8 by NNCF.

A component is converted from one real call of it, so that any pipeline's denoiser can be: the tensors of
the call become inputs, everything else is fixed. Where guidance ends early, the denoiser is called with two batch
sizes and has a graph for each. Converted graphs are artifacts: made once, in a process of
their own, and read by every later trial and by the app.

Source: https://docs.openvino.ai (convert_model, CPU device, inference precision);
https://docs.openvino.ai (NNCF post-training quantization: model type transformer, SmoothQuant).
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ...value import key_of
from ..pipeline import call_pipeline, load_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..workload import Workload
    from .knob import Bench, Choices

CALIBRATION_CALLS = 24
LAYERS = ("Convolution", "MatMul")
SMOOTH_ALPHA = 0.15
DECODER = "vae.decoder"
GRAPH_FILE = "graph.xml"

log = logging.getLogger(__name__)


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return an empty shell for the denoiser, so that its weights are not read for nothing."""
    if not all(made.folder(choices, bench).exists() for made in _graphs(choices, bench)):
        return {}
    import diffusers
    import torch

    denoiser = bench.card.denoiser
    kind = getattr(diffusers, denoiser.class_name)
    with torch.device("meta"):
        return {denoiser.name: kind.from_config(kind.load_config(bench.card.folder, subfolder=denoiser.name))}


def build(choices: Choices, bench: Bench) -> None:
    """Convert what these choices need and is not there yet. Takes the memory of the pipeline in fp32, and more."""
    missing = [made for made in _graphs(choices, bench) if not made.folder(choices, bench).exists()]
    if not missing:
        return
    pipe = _plain_pipeline(choices, bench)
    for made in missing:
        quantized = made.part != DECODER and choices["quantization"] == "nncf_int8"
        calls = _recorded_calls(pipe, made, bench, everything=quantized)
        graph = _converted(_part(pipe, made.part), calls[0])
        if quantized:
            graph = _quantized(graph, calls)
        _save(graph, made.folder(choices, bench))


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Put the compiled graphs in the place of the torch modules."""
    build(choices, bench)
    compiled: dict[str, list[Graph]] = {}
    for made in _graphs(choices, bench):
        graph = Graph(made.folder(choices, bench) / GRAPH_FILE, str(choices["precision"]))
        compiled.setdefault(made.part, []).append(graph)
    for part, graphs in compiled.items():
        path, _, name = part.rpartition(".")
        owner = _part(pipe, path) if path else pipe
        setattr(owner, name, _stand_in(getattr(owner, name), graphs, _loader(part, choices, bench)))


@dataclass(frozen=True)
class _Made:
    """One graph to be made: of which part, for the shapes that a workload gives it."""

    part: str
    workload: Workload

    def folder(self, choices: Choices, bench: Bench) -> Path:
        """Return where it lies: what the graph depends on is in the name, its precision is not."""
        changes = [choices["quantization"], choices["tome_ratio"]] if self.part != DECODER else []
        facts = [bench.card.revision, bench.software, self.workload.key, changes]
        return bench.artifacts / "openvino" / f"{self.part}-{key_of(facts)}"


def _graphs(choices: Choices, bench: Bench) -> list[_Made]:
    denoiser, unguided = bench.card.denoiser.name, bench.workload.model_copy(update={"guidance": 1.0})
    graphs = [_Made(denoiser, bench.workload)]
    if choices["guidance_cutoff"] != 1.0:
        graphs.append(_Made(denoiser, unguided))
    return graphs + [_Made(DECODER, bench.workload)] * bench.card.has("vae")


def _plain_pipeline(choices: Choices, bench: Bench) -> Any:
    """Return the pipeline in fp32 with token merging if chosen: what is converted."""
    import torch

    from .tome import TOME_RATIO

    pipe = load_pipeline(bench.card, dtype=torch.float32)
    if choices["tome_ratio"]:
        TOME_RATIO.apply(pipe, choices, bench)
    return pipe


def _part(pipe: Any, part: str) -> Any:
    for step in part.split("."):
        pipe = getattr(pipe, step)
    return pipe


def _recorded_calls(pipe: Any, made: _Made, bench: Bench, *, everything: bool) -> list[tuple[Any, Any]]:
    """Return the arguments of calls of a part, from real denoising: one call, or enough to calibrate with."""
    import torch
    from torch.utils import _pytree

    calls: list[tuple[Any, Any]] = []

    def record(module: Any, args: Any, kwargs: Any) -> None:
        del module
        calls.append(_pytree.tree_map(lambda leaf: leaf.clone() if torch.is_tensor(leaf) else leaf, (args, kwargs)))

    hook = _part(pipe, made.part).register_forward_pre_hook(record, with_kwargs=True)
    workload = made.workload if everything else made.workload.model_copy(update={"steps": 1})
    for index, prompt in enumerate(bench.calibration_prompts if everything else bench.calibration_prompts[:1]):
        call_pipeline(pipe, workload, prompt, seed=index)
    hook.remove()
    stride = max(1, math.ceil(len(calls) / CALIBRATION_CALLS))
    return calls[::stride]


def _converted(module: Any, call: tuple[Any, Any]) -> Any:
    """Return the OpenVINO graph of `module`, traced from one call, with the shapes of that call."""
    import torch
    from torch.utils import _pytree

    leaves, structure = _pytree.tree_flatten(call)
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
            result = self.module(*args, **kwargs)
            return result[0] if isinstance(result, tuple) else result

    tensors = tuple(leaves[place] for place in places)
    openvino = _quietly("openvino")
    with torch.no_grad(), _no_telemetry():
        graph = openvino.convert_model(Traced().eval(), example_input=tensors)
    graph.reshape({index: openvino.PartialShape(list(tensor.shape)) for index, tensor in enumerate(tensors)})
    return graph


def _quantized(graph: Any, calls: list[tuple[Any, Any]]) -> Any:
    """Return the graph with weights and activations in int8, calibrated on real denoising steps.

    The first and the last layer are left alone, and SmoothQuant moves little from activations to weights: on
    `shapes` the error of a denoiser's call is 1.8 % so, and 3.9 % with NNCF's defaults (bf16 alone: 0.7 %).
    """
    nncf = _quietly("nncf")
    layers = [op.get_friendly_name() for op in graph.get_ordered_ops() if op.get_type_name() in LAYERS]
    smooth = nncf.AdvancedSmoothQuantParameters(matmul=SMOOTH_ALPHA)
    samples = [[tensor.numpy() for tensor in _tensors(call)] for call in calls]
    with _no_telemetry():
        return nncf.quantize(
            graph,
            nncf.Dataset(samples),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=[layers[0], layers[-1]]),
            advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=smooth),
        )


def _tensors(call: Any) -> list[Any]:
    import torch
    from torch.utils import _pytree

    return [leaf for leaf in _pytree.tree_leaves(call) if torch.is_tensor(leaf)]


def _save(graph: Any, folder: Path) -> None:
    """Write the graph so that it is there whole or not at all, whoever else builds it at the same time."""
    openvino = _quietly("openvino")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    openvino.save_model(graph, draft / GRAPH_FILE, compress_to_fp16=False)
    try:
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft)
        if not folder.exists():
            raise


class Graph:
    """A compiled graph that is called with torch tensors and gives one back."""

    def __init__(self, file: Path, precision: str) -> None:
        """Compile `file` for the CPU. precision: `fp32` or `bf16`, what it computes in."""
        openvino = _quietly("openvino")
        hint = {"fp32": "f32", "bf16": "bf16"}[precision]
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        compiled = openvino.Core().compile_model(file, "CPU", settings)
        self.shapes = [tuple(port.shape) for port in compiled.inputs]
        self._types = [port.element_type.to_dtype() for port in compiled.inputs]
        self._request = compiled.create_infer_request()

    def fits(self, tensors: list[Any]) -> bool:
        """Return whether the graph was made for tensors of these shapes."""
        return [tuple(tensor.shape) for tensor in tensors] == self.shapes

    def __call__(self, tensors: list[Any]) -> Any:
        """Run the graph and return its first output."""
        import torch

        inputs = [tensor.float().numpy().astype(kind) for tensor, kind in zip(tensors, self._types, strict=True)]
        return torch.from_numpy(self._request.infer(inputs, share_inputs=True)[0].copy())


def _stand_in(module: Any, graphs: list[Graph], original: Callable[[], Any]) -> Any:
    """Return a module that behaves as `module` does in a pipeline, but runs the graph that fits the call.

    A call of a shape that no graph is made for goes to the `original`, loaded at that moment: slow, but right.
    """
    import torch

    class Compiled(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
        def __init__(self) -> None:
            super().__init__()
            self.config = copy.copy(getattr(module, "config", None))
            self.dtype = torch.float32
            self.device = torch.device("cpu")
            self.fallback: list[Any] = []

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            tensors = _tensors((args, kwargs))
            graph = next((each for each in graphs if each.fits(tensors)), None)
            if graph is None:
                return self._original()(*args, **kwargs)
            output = graph(tensors)
            if self.config is None:
                return output
            return SimpleNamespace(sample=output) if kwargs.get("return_dict", True) else (output,)

        def _original(self) -> Any:
            if not self.fallback:
                log.warning("A call of another shape than the plan was made for: falling back to plain torch.")
                self.fallback.append(original())
            return self.fallback[0]

    return Compiled().eval()


def _loader(part: str, choices: Choices, bench: Bench) -> Callable[[], Any]:
    return lambda: _part(_plain_pipeline(choices, bench), part)


def _quietly(library: str) -> Any:
    with _no_telemetry():
        return importlib.import_module(library)


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
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
