"""What diffusers' classes can do, read from the source of the installed version: nothing of it is imported.

So a knob can ask before anything is loaded and the daemon without torch, and a new version answers for itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOLDERS = ("hooks", "models", "pipelines")
DISPATCHER = b"dispatch_attention_fn("
CONTEXT = b"cache_context"
DECLARATION = re.compile(rb"\nclass (\w+)")  # of hundreds of files: `^` would take ten times as long


@dataclass(frozen=True)
class Abilities:
    """What a class says of itself, and the classes that it derives from.

    repeated_blocks: the classes of the blocks that it names as repeated (`_repeated_blocks`), whole_blocks: of those
    that must stay undivided (`_no_split_modules`); bases and methods: with the inherited ones; groups: whether it
    supports group offloading; contexts: by what names a pipeline tells its denoiser's caches which half of guidance a
    call of it is (`cache_context`); attributes: what is set on `self` when one is made, with the value where it is a
    literal, else None; dispatches: whether its attention asks diffusers' dispatcher which kernel to take; kept_in_fp32:
    the modules of a model that stay in fp32 whatever it is loaded in (`_keep_in_fp32_modules`), uncast: patterns of
    those that are not stored in fp8 (`_skip_layerwise_casting_patterns`).
    """

    repeated_blocks: tuple[str, ...] = ()
    whole_blocks: tuple[str, ...] = ()
    bases: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    groups: bool = True
    contexts: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dispatches: bool = False
    kept_in_fp32: tuple[str, ...] = ()
    uncast: tuple[str, ...] = ()


UNKNOWN = Abilities()


@cache
def abilities(class_name: str) -> Abilities:
    """Return what a class of diffusers can do; `UNKNOWN` where there is no class of that name."""
    text = _text(class_name)
    if not text:
        return UNKNOWN
    found = _declaration(class_name, text)
    contexts = frozenset(_contexts(found)) if CONTEXT in text else frozenset[str]()
    return _joined(replace(_own(found), dispatches=DISPATCHER in text, contexts=contexts), _bases(found))


@cache
def parameters(class_name: str) -> frozenset[str]:
    """Return what a pipeline's `__call__` takes, or a model's `forward`: nothing where no class has that name.

    Each answer of the daemon and of a client asks that. So what a class does not inherit is told without its bases.
    """
    text = _text(class_name)
    if not text:
        return frozenset()
    found = _declaration(class_name, text)
    methods = {item.name: item for item in found.body if isinstance(item, ast.FunctionDef)}
    called = methods.get("__call__") or methods.get("forward")
    if called is None:
        return next(filter(None, map(parameters, _bases(found))), frozenset())
    return frozenset(argument.arg for argument in (*called.args.args[1:], *called.args.kwonlyargs))


def says(class_name: str, pattern: str) -> bool:
    """Return whether the file of a class of diffusers has something that matches a regular expression."""
    return re.search(pattern, _text(class_name).decode()) is not None


def _text(class_name: str) -> bytes:
    """Return the file of a class; nothing where no class has that name.

    Most pipelines are in the file that is called as they are, and to look there takes a tenth of the time.
    """
    for namesake in _namesakes().get(class_name.lower(), ()):
        text = namesake.read_bytes()
        if b"\nclass %b(" % class_name.encode() in text:
            return text
    file = _files().get(class_name)
    return file.read_bytes() if file else b""


def _declaration(class_name: str, text: bytes) -> ast.ClassDef:
    return next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == class_name)


def _bases(found: ast.ClassDef) -> list[str]:
    return [base.id for base in found.bases if isinstance(base, ast.Name) and base.id != found.name]


def _joined(own: Abilities, bases: list[str]) -> Abilities:
    """Return what a class says together with what it inherits."""
    all_of = [own, *map(abilities, bases)]
    return Abilities(
        repeated_blocks=next((each.repeated_blocks for each in all_of if each.repeated_blocks), ()),
        whole_blocks=next((each.whole_blocks for each in all_of if each.whole_blocks), ()),
        bases=frozenset(bases).union(*(each.bases for each in all_of)),
        methods=frozenset[str]().union(*(each.methods for each in all_of)),
        groups=all(each.groups for each in all_of),
        contexts=next((each.contexts for each in all_of if each.contexts), frozenset()),
        attributes={name: value for each in reversed(all_of) for name, value in each.attributes.items()},
        dispatches=any(each.dispatches for each in all_of),
        kept_in_fp32=next((each.kept_in_fp32 for each in all_of if each.kept_in_fp32), ()),
        uncast=next((each.uncast for each in all_of if each.uncast), ()),
    )


def _own(found: ast.ClassDef) -> Abilities:
    """Return what stands in the body of a class, but for the contexts."""
    methods = {item.name: item for item in found.body if isinstance(item, ast.FunctionDef)}
    fields = {
        target.id: _value(item.value)
        for item in found.body
        if isinstance(item, ast.Assign)
        for target in item.targets
        if isinstance(target, ast.Name)
    }
    return Abilities(
        repeated_blocks=tuple(fields.get("_repeated_blocks") or ()),
        whole_blocks=tuple(fields.get("_no_split_modules") or ()),
        methods=frozenset(methods),
        groups=fields.get("_supports_group_offloading") is not False,
        attributes=dict(_set_on_self(methods["__init__"])) if "__init__" in methods else {},
        kept_in_fp32=tuple(fields.get("_keep_in_fp32_modules") or ()),
        uncast=tuple(fields.get("_skip_layerwise_casting_patterns") or ()),
    )


def _contexts(found: ast.ClassDef) -> Iterator[str]:
    """Yield the names that caches are told; where a name is computed, the expression instead."""
    for node in ast.walk(found):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cache_context":
            names = [*node.args[:1], *(each.value for each in node.keywords if each.arg == "name")]
            yield from (str(_value(name) or ast.unparse(name)) for name in names)


def _set_on_self(method: ast.FunctionDef) -> Iterator[tuple[str, Any]]:
    """Yield what a method assigns to attributes of `self`."""
    for node in ast.walk(method):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                    yield target.attr, _value(node.value)


def _value(node: ast.expr) -> Any:
    """Return what a field is set to, None where that is no literal."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


@cache
def _namesakes() -> dict[str, list[Path]]:
    """Return the files of pipelines by the name of the class that they seem to be of, in lower case."""
    named: dict[str, list[Path]] = {}
    for file in _found("pipelines/*/pipeline_*.py"):
        name = file.stem.removeprefix("pipeline_").replace("_", "") + "pipeline"
        named.setdefault(name, []).append(file)
    return named


@cache
def _files() -> dict[str, Path]:
    """Return the file of each class of the installed diffusers."""
    files = sorted(file for folder in FOLDERS for file in _found(f"{folder}/**/*.py"))
    return {name.decode(): file for file in files for name in DECLARATION.findall(b"\n" + file.read_bytes())}


def _found(pattern: str) -> Iterator[Path]:
    """Yield the files of the installed diffusers whose paths are like that."""
    spec = find_spec("diffusers")
    if spec is not None and spec.origin is not None:
        yield from Path(spec.origin).parent.glob(pattern)
