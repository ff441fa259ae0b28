"""Code that a script brings: what autotune itself runs, word for word, and values as they are written in Python."""

from __future__ import annotations

import ast
import re
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

ROOM = "autotune.search.knobs"
_FOR_CHECKERS = re.compile(r"  # (noqa|type: ignore).*$", re.MULTILINE)


class Brought(NamedTuple):
    """What a script brings of one of autotune's modules: the names that it defines, and what those import."""

    module: str
    names: tuple[str, ...]
    imports: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """The definitions, in the order of the module. They are read from its file: importing it may take seconds."""
        text = _text_of(f"{ROOM}.{self.module}")
        lines = text.splitlines()
        found = {name: node for node in ast.parse(text).body for name in _defined_by(node) if name in self.names}
        lacking = {*self.names} - {*found}
        if lacking:
            msg = f"{self.module} does not define {', '.join(sorted(lacking))}."
            raise LookupError(msg)
        parts = ("\n".join(lines[_first_line(node) - 1 : node.end_lineno]) for node in found.values())
        return _FOR_CHECKERS.sub("", "\n\n\n".join(parts))


ANY = "from typing import Any"
CALLABLE = "from collections.abc import Callable"
SEQUENCE = "from collections.abc import Sequence"
GRAPHS = Brought(
    "openvino.run",
    (
        *("GRAPH_FILE", "LAYOUT_FILE", "Layout", "StaticGraph", "ByRow", "rows_of", "Outputs", "tensors_in"),
        *("quietly", "no_telemetry"),
    ),
    (
        *("import contextlib", "import importlib", "import json", "import os", "from pathlib import Path"),
        *("from collections.abc import Iterator", "from typing import Self", ANY),
    ),
)
STAND_IN = Brought("openvino.stand_in", ("log", "StandIn"), ("import inspect", "import logging", CALLABLE, ANY))
SHELL = Brought("openvino.shell", ("shell", "stored"), ("import importlib", SEQUENCE, ANY))
DEEPCACHE = Brought("deepcache", ("DeepCache", "halves", "halves_of", "_last_layer", "_twin"), ("import copy", ANY))
CACHE_DIT = Brought("cache_dit", ("enable",), (ANY,))
BITSANDBYTES = Brought("bitsandbytes", ("ADAPTERS", "replace_linear", "_int8", "_4bit"), (ANY,))
GGUF = Brought("gguf", ("read", "without_weights"), ("import importlib", ANY))
FP8 = Brought("quantization", ("store_in_fp8",), (ANY,))
POINTWISE = Brought("torchao", ("quantize_1x1", "_wide", "NARROW"), ("from torch import Tensor", CALLABLE, ANY))
GUIDANCE = Brought("guidance", ("cutoff", "_forget"), (CALLABLE, ANY))
MASK = Brought("guidance", ("halve_mask",), (ANY,))
GROUPS = Brought(
    "offload",
    ("LEAF", "offload_groups", "_level", "_must_stay_in_ram", "_waiting_room"),
    (
        *("import atexit", "import os", "import shutil", "import tempfile", "import psutil"),
        *("from pathlib import Path", ANY),
    ),
)


def spelt(value: Any, imports: set[str], said: dict[str, str] | None = None) -> str:
    """Return the Python text that makes an equal value, and add what it imports. Fields at their defaults are left out.

    said: the text of fields that are functions, by name.
    """
    kind = type(value)
    if isinstance(value, Enum):
        imports.add(f"from {kind.__module__} import {kind.__name__}")
        return f"{kind.__name__}.{value.name}"
    if is_dataclass(value):
        imports.add(f"from {kind.__module__} import {kind.__name__}")
        texts = said or {}
        turned = {
            each.name: texts.get(each.name) or spelt(getattr(value, each.name), imports, said)
            for each in fields(value)
            if each.init and getattr(value, each.name) != _default_of(each)
        }
        return f"{kind.__name__}({', '.join(f'{name}={text}' for name, text in turned.items())})"
    if kind.__name__ == "Tensor":
        imports.add("import torch")
        return f"torch.tensor({value.tolist()!r})"
    if isinstance(value, list | tuple):
        parts = ", ".join(spelt(each, imports, said) for each in value)
        return f"[{parts}]" if isinstance(value, list) else f"({parts}{',' * (len(value) == 1)})"
    return repr(value)


def _default_of(each: Field[Any]) -> Any:
    factory: Callable[[], Any] | Any = each.default_factory
    return each.default if factory is MISSING else factory()


@cache
def _text_of(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        msg = f"There is no module {module}."
        raise LookupError(msg)
    return Path(spec.origin).read_text(encoding="utf-8")


def _defined_by(node: ast.stmt) -> tuple[str, ...]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return (node.name,)
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return (node.target.id,)
    targets = node.targets if isinstance(node, ast.Assign) else []
    return tuple(target.id for target in targets if isinstance(target, ast.Name))


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return int(decorators[0].lineno if decorators else node.lineno)
