"""The bytes of the weights that a pipeline holds: torch's parameters and buffers, and the constants of graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..knobs.deepcache import halves

if TYPE_CHECKING:
    from collections.abc import Iterable


def weights_bytes(pipe: Any) -> int:
    """Return the bytes of every weight once: tensors that share memory, as the halves of a cached UNet do, count once.

    Two graphs of one part count twice, because each has its own file; so does what stands for a call that no graph is
    made for, once it is loaded.
    """
    import torch

    modules = [each for each in pipe.components.values() if isinstance(each, torch.nn.Module)]
    modules += [half for each in modules for half in halves(each) if half is not each]
    stand_ins = [vars(module)["_about"] for module in modules if "_about" in vars(module)]
    graphs = [graph for about in stand_ins for graph in about["graphs"]]
    modules += [about["original"] for about in stand_ins if "original" in about]
    buffers = [buffer for module in modules for buffer in module.buffers()]
    return sum(int(graph.bytes) for graph in graphs) + bytes_in(modules, buffers)


def bytes_in(modules: Iterable[Any], beside: Iterable[Any] = ()) -> int:
    """Return the bytes of the parameters of modules, and of other tensors beside, each memory once."""
    storages: dict[int, int] = {}
    for tensor in (*(each for module in modules for each in module.parameters()), *beside):
        _note(tensor, storages)
    return sum(storages.values())


def _note(tensor: Any, storages: dict[int, int]) -> None:
    """Note the memory of a tensor; a quantized one of torchao's consists of several, bitsandbytes has scales beside."""
    if hasattr(tensor, "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            _note(getattr(tensor, name), storages)
        return
    for scales in (getattr(getattr(tensor, "quant_state", None), "absmax", None), getattr(tensor, "SCB", None)):
        if scales is not None:
            _note(scales, storages)
    storage = tensor.untyped_storage()
    storages[storage.data_ptr()] = storage.nbytes()
