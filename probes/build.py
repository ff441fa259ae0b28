"""Building parts of a pipeline without their weights, to see what they are made of: run as a process of its own.

`python -m autotune.probes.build TIME_LIMIT [FOLDER LIBRARY CLASS]...`; `layers` starts it and reads what it says. Every
tensor lies on torch's meta device, so a part of 20 billion parameters needs no memory; and no code but that of the
installed libraries is run.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

from .child import answer

NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def built(folder: Path, library: str, class_name: str) -> dict[str, Any]:
    """Return the layers and the repeated blocks of a class as `layers.Composition` has them, in JSON's types.

    Empty where the class is no model: a tokenizer, a scheduler.
    """
    module = on_meta(folder, library, class_name)
    return {"layers": list(layers(module)), "blocks": list(blocks(module))} if module else {"layers": [], "blocks": []}


def on_meta(folder: Path, library: str, class_name: str) -> Any:
    """Return a module of that class and configuration whose tensors are nowhere; None where the class is no model."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # a configuration may name kernels of the hub
    import torch

    found = getattr(import_module(library), class_name)
    if not isinstance(found, type) or not issubclass(found, torch.nn.Module):
        return None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        return _made(found, {key: value for key, value in config.items() if key not in _NOT_SHAPE})


_NOT_SHAPE = {"quantization_config", "auto_map", "_attn_implementation", "attn_implementation", "torch_dtype", "dtype"}
"""What a configuration may say that changes how a model runs, and not what it is made of."""


def _made(found: type, config: dict[str, Any]) -> Any:
    if hasattr(found, "config_class"):  # a class of transformers
        return found(found.config_class.from_dict(config))
    return found.from_config(config)  # type: ignore[attr-defined]  # every model of diffusers has it


def layers(module: Any) -> Iterator[list[Any]]:
    """Yield [name, kind, shape, count, numbers] of all that the module's files hold, what is alike together.

    A module without others in it is one layer: of its weight's shape, and with all numbers that are its own. What
    stands directly on other modules is a `Parameter`; tensors that are kept without being trained are a `Buffer`.
    Weights that two modules share count once, where they are first met.
    """
    seen: set[int] = set()
    found: Counter[tuple[str, str, tuple[int, ...], int]] = Counter()
    for path, part in module.named_modules():
        own = {name: each for name, each in part.named_parameters(recurse=False) if id(each) not in seen}
        seen |= {id(each) for each in own.values()}
        name = _starred(path)
        if own and not any(True for _ in part.children()):
            shape = own.get("weight", next(iter(own.values()))).shape
            found[name, type(part).__name__, tuple(shape), sum(each.numel() for each in own.values())] += 1
        else:
            for leaf, each in own.items():
                found[_joined(name, leaf), "Parameter", tuple(each.shape), each.numel()] += 1
        for leaf, each in part.named_buffers(recurse=False):
            if leaf not in part._non_persistent_buffers_set:  # noqa: SLF001 - torch has no other way to ask
                found[_joined(name, leaf), "Buffer", tuple(each.shape), prod(each.shape)] += 1
    for (name, kind, shape, numbers), count in found.items():
        yield [name, kind, list(shape), count, numbers]


def _starred(path: str) -> str:
    return NUMBER.sub("*", f".{path}")[1:]


def _joined(name: str, leaf: str) -> str:
    return f"{name}.{leaf}" if name else leaf


def blocks(module: Any) -> Iterator[list[Any]]:
    """Yield [class, count] of the blocks that repeat: those that diffusers names, else what outermost lists hold."""
    named = getattr(type(module), "_repeated_blocks", None) or ()
    counts = Counter(type(part).__name__ for part in module.modules() if type(part).__name__ in named)
    if not counts:
        counts = Counter(type(part).__name__ for part in _listed(module))
    yield from ([name, count] for name, count in counts.items() if count > 1)


def _listed(module: Any) -> Iterator[Any]:
    """Yield what the lists of modules hold, but for lists within lists."""
    import torch

    for part in module.children():
        if isinstance(part, torch.nn.ModuleList):
            yield from (each for each in part if each is not None)
        else:
            yield from _listed(part)


def all_built(arguments: list[str]) -> dict[str, Any]:
    """Return what each part is made of, in the order in which they are named: three arguments for each.

    Where a class makes nothing of its configuration, `problem` is what it says.
    """
    parts = []
    for folder, library, name in zip(arguments[0::3], arguments[1::3], arguments[2::3], strict=True):
        try:
            parts.append(built(Path(folder), library, name))
        except Exception as error:  # noqa: BLE001 - whatever a class says against its configuration
            said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            return {"problem": f"{name} says: {said}"}
    return {"parts": parts}


if __name__ == "__main__":
    answer(lambda: all_built(sys.argv[2:]))
