"""A rehearsal: a pipeline is called, nothing is computed, and the memory that its parts would take is counted.

The pipeline's own code runs as it is, with its scheduler and its small tensors on the CPU. What has weights lies on
torch's meta device, where a tensor has a shape, a format and no memory; its outputs are handed on as zeros. Each tensor
that an operation makes is counted until it is let go of, so the most that lives at once is exact, whatever the model.

`python -m autotune.search.rehearsal TIME_LIMIT CARD WORKLOAD...` rehearses each workload in fp32 and in bf16, and
prints what was counted; `demand` starts it.
"""

from __future__ import annotations

import os
import sys
import weakref
from functools import wraps
from typing import Any

from ..probes.child import answer
from ..probes.model import Component, ModelCard
from .workload import Workload

PRECISIONS = ("fp32", "bf16")
LEFT_OUT = ("safety_checker",)
"""Parts that look at what is computed, and are small."""
METHODS = {"vae": "decode"}
"""What a pipeline calls of a part, where that is not its `forward`."""


def rehearse(card: ModelCard, workload: Workload, precision: str) -> dict[str, dict[str, int]]:
    """Return for each part how many bytes live at once beside its weights, and how many with a convolution's copies.

    `live_bytes` is what torch's operations make. A convolution of oneDNN, on a CPU, lays out its input, its output and
    its weight anew, so `scratch_bytes` counts those twice; where no convolution is the worst, both are the same.
    """
    import torch
    from torch.fx.experimental import _config as config

    from .pipeline import call_pipeline, load_pipeline

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    rehearsed = [each for each in card.components if each.parameters and each.name not in LEFT_OUT]
    parts = {each.name: _empty(card, each, dtype) for each in rehearsed}
    left_out: dict[str, Any] = {each.name: None for each in card.components if each.name in LEFT_OUT}
    pipe = load_pipeline(card.model_copy(update={"weights": "random"}), dtype=dtype, **parts, **left_out)
    kind = type(pipe)
    here = property(lambda _: torch.device("cpu"))
    pipe.__class__ = type(kind.__name__, (kind,), {"device": here, "_execution_device": here, "__module__": __name__})
    counted: dict[str, dict[str, int]] = {}
    for name, part in parts.items():
        _watch(name, part, counted)
    vars(torch)["autocast"] = _without_meta(torch.autocast)  # in this process, which does nothing else
    config.meta_nonzero_assume_all_nonzero = True  # who picks tokens by a mask gets all of them
    call_pipeline(pipe, workload, "a red circle", 0, output_type="np")
    return counted


def _without_meta(autocast: Any) -> Any:
    """Return torch's context for mixed precision, which does not know the meta device, as it is on a CPU."""
    return lambda device, *args, **kwargs: autocast("cpu" if device == "meta" else device, *args, **kwargs)


def _empty(card: ModelCard, component: Component, dtype: Any) -> Any:
    """Return a part without memory; what lies directly in it, pipelines read, so that is real."""
    import torch

    from .random_weights import empty

    part = empty(card, component).to(dtype).eval()
    for buffer, tensor in part.named_buffers(recurse=False):
        setattr(part, buffer, torch.zeros(tensor.shape, dtype=tensor.dtype))
    return part


def _watch(name: str, part: Any, counted: dict[str, dict[str, int]]) -> None:
    """Count what each call of a part takes: the most of all calls is noted."""
    import torch
    from torch.utils._pytree import tree_map_only

    method = METHODS.get(name, "forward")
    original = getattr(part, method)

    @wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map_only(torch.Tensor, lambda each: each.to("meta"), (args, kwargs))
        count = _counting()(part)
        with torch.no_grad(), _without_attention_matrix()(), count:
            made = original(*args, **kwargs)
        so_far = counted.get(name, {})
        counted[name] = {key: max(value, so_far.get(key, 0)) for key, value in count.most.items()}
        return _made_real(made)

    setattr(part, method, watched)


def _made_real(made: Any) -> Any:
    """Return outputs with zeros in the place of tensors without memory."""
    import torch
    from torch.utils._pytree import tree_map_only

    def real(each: Any) -> Any:
        return torch.zeros(each.shape, dtype=each.dtype)

    if hasattr(made, "to_tuple"):  # an output class: its fields are its items
        return type(made)(**{name: tree_map_only(torch.Tensor, real, each) for name, each in made.items()})
    return tree_map_only(torch.Tensor, real, made)


def _counting() -> Any:
    """Return the class that counts; torch is imported only in the process that rehearses."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Counting(TorchDispatchMode):  # type: ignore[misc]  # torch does not say what it is
        """Counts the memory of tensors that operations make, from when they are made until nothing holds them."""

        def __init__(self, part: Any) -> None:
            super().__init__()
            self.most = {"live_bytes": 0, "scratch_bytes": 0}
            self._live_bytes = 0
            self._living = {_key(each) for each in (*part.parameters(), *part.buffers())}

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.__name__ == "_local_scalar_dense.default" and args[0].is_meta:
                return args[0].dtype.is_floating_point * 0.0 + 1  # whoever asks for a number or a truth gets one
            made = func(*args, **(kwargs or {}))
            for each in tree_leaves(made):
                if isinstance(each, torch.Tensor):
                    self._note(each)
            copies = [*args[:2], made] if func is torch.ops.aten.convolution.default else []
            scratch_bytes = sum(each.numel() * each.element_size() for each in copies)
            self.most["live_bytes"] = max(self.most["live_bytes"], self._live_bytes)
            self.most["scratch_bytes"] = max(self.most["scratch_bytes"], self._live_bytes + scratch_bytes)
            return made

        def _note(self, tensor: Any) -> None:
            key, storage = _key(tensor), tensor.untyped_storage()
            if key not in self._living:
                self._living.add(key)
                self._live_bytes += storage.nbytes()
                weakref.finalize(storage, self._gone, key, storage.nbytes())

        def _gone(self, key: int, size: int) -> None:
            self._living.discard(key)
            self._live_bytes -= size

    return Counting


def _key(tensor: Any) -> int:
    """Return what tells the memory of a tensor from that of another: on a meta device all addresses are 0."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - what torch compares storages by


def _without_attention_matrix() -> Any:
    """Return the class that answers for scaled dot product attention: on a meta device torch would take its reference.

    The kernels that a CPU and a GPU have do not make the matrix of all tokens by all tokens.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    attention = torch.nn.functional.scaled_dot_product_attention

    class WithoutMatrix(TorchFunctionMode):  # type: ignore[misc]  # as above
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is not attention:
                return func(*args, **(kwargs or {}))
            query, _, value = (*args, *((kwargs or {}).get(name) for name in ("query", "key", "value")[len(args) :]))[
                :3
            ]
            rows, heads, tokens, _ = query.shape
            # as torch's kernels lay it out: heads beside their channels
            return query.new_empty((rows, tokens, heads, value.shape[-1])).transpose(1, 2)

    return WithoutMatrix


def _look(arguments: list[str]) -> dict[str, Any]:
    os.environ["HF_HUB_OFFLINE"] = "1"
    card = ModelCard.model_validate_json(arguments[0])
    workloads = [Workload.model_validate_json(text) for text in arguments[1:]]
    return {precision: [rehearse(card, workload, precision) for workload in workloads] for precision in PRECISIONS}


if __name__ == "__main__":
    answer(lambda: _look(sys.argv[2:]))
