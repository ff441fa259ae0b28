"""The bytes of the weights that a pipeline holds: torch's parameters and buffers, and the constants of graphs."""

from __future__ import annotations

from typing import Any

from ..knobs.deepcache import halves


def weights_bytes(pipe: Any) -> int:
    """Return the bytes of every weight once: tensors that share memory, as the halves of a cached UNet do, count once.

    Two graphs of one part count twice, because each has its own file; so does what stands for a call that no graph is
    made for, once it is loaded. What bitsandbytes keeps beside a parameter
    (scales, under 2 %) is not counted.
    """
    import torch

    modules = [each for each in pipe.components.values() if isinstance(each, torch.nn.Module)]
    modules += [half for each in modules for half in halves(each) if half is not each]
    stand_ins = [vars(module)["_about"] for module in modules if "_about" in vars(module)]
    graphs = [graph for about in stand_ins for graph in about["graphs"]]
    modules += [about["original"] for about in stand_ins if "original" in about]
    storages: dict[int, int] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            _note(tensor, storages)
    return sum(int(graph.bytes) for graph in graphs) + sum(storages.values())


def _note(tensor: Any, storages: dict[int, int]) -> None:
    """Note the memory of a tensor; a quantized one of torchao's consists of several."""
    if hasattr(tensor, "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            _note(getattr(tensor, name), storages)
        return
    storage = tensor.untyped_storage()
    storages[storage.data_ptr()] = storage.nbytes()
