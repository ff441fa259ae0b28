"""In the process of a trial: what a pipeline is made of after a recipe was applied, and what it gives."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROCESS_VARIABLES = ("THP_", "OMP_", "GOMP_", "KMP_", "MALLOC_", "DIFFUSERS_")
SWITCHES = ("use_tiling", "use_slicing")


def examine(pipe: Any, call: Callable[[], Any], file: Path) -> dict[str, Any]:
    """Return a pipeline's traces, and how far two calls that are just alike are apart; the images go into a file.

    A trace is a line of text: a recipe whose traces and images are those of another has done nothing beside it.
    call: makes the images, floats in 0..1.
    """
    import numpy as np

    first, second = np.asarray(call()), np.asarray(call())
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, first)
    return {
        "traces": sorted([*_of_components(pipe), *_of_process()]),
        "unsteadiness": float(np.abs(first - second).mean()) if np.isfinite(first).all() else 0.0,
    }


def _of_components(pipe: Any) -> Iterator[str]:
    """Yield what each module of the pipeline is made of."""
    import torch

    for name, component in pipe.components.items():
        if isinstance(component, torch.nn.Module):
            for trace, count in Counter(_of_module(component)).items():
                yield f"{name}: {count} x {trace}"
        elif component is not None:
            yield f"{name}: {type(component).__name__}"


def _of_module(component: Any) -> Iterator[str]:
    for module in component.modules():
        yield type(module).__name__
        if "forward" in vars(module):
            yield f"own forward of {type(module).__name__}"
        if getattr(module, "_compiled_call_impl", None) is not None:
            yield f"compiled {type(module).__name__}"
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)  # noqa: SLF001 - torch has no other way
        if hooks:
            yield f"{hooks} hooks on {type(module).__name__}"
        yield from _of_attention(module)
        yield from (switch for switch in SWITCHES if getattr(module, switch, False) is True)
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            yield _of_tensor(tensor)
    yield from _of_graphs(component)


def _of_attention(module: Any) -> Iterator[str]:
    """Yield the processor of an attention, with the backend that it was told to use."""
    processor = getattr(module, "processor", None)
    if processor is not None and not hasattr(processor, "parameters"):
        yield f"{type(processor).__name__} on {getattr(processor, '_attention_backend', None)}"


def _of_tensor(tensor: Any) -> str:
    import torch

    last = tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    return f"{type(tensor).__name__} {tensor.dtype}{' channels last' if last else ''} on {tensor.device.type}"


def _of_graphs(component: Any) -> Iterator[str]:
    """Yield how OpenVINO runs a component, where it does."""
    for module in component.modules():
        for graph in getattr(module, "_about", {}).get("graphs", []):
            yield f"graph in {graph.precision} on {graph.threads} threads"


def _of_process() -> Iterator[str]:
    """Yield what holds for the whole process."""
    import torch

    yield f"{torch.get_num_threads()} threads"
    yield f"matmul precision {torch.get_float32_matmul_precision()}"
    yield f"{torch._dynamo.utils.counters['stats']['unique_graphs']} graphs of inductor"  # noqa: SLF001 - as torch's tests do
    yield from _preloaded()
    for name, value in os.environ.items():
        if name.startswith(PROCESS_VARIABLES):
            yield f"{name}={value}"


def _preloaded() -> Iterator[str]:
    """Yield the libraries that were to be preloaded and were: the loader leaves out what it does not find."""
    maps = Path("/proc/self/maps")
    mapped = maps.read_text(encoding="utf-8") if maps.exists() else ""
    for library in os.environ.get("LD_PRELOAD", "").split(":"):
        if library and Path(library).name in mapped:
            yield f"{Path(library).name} is loaded"
