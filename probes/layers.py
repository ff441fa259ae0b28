"""What a part of a pipeline is made of, without its weights: the layers that its configuration stands for.

They are found by building the part on torch's meta device in a process of its own, which takes ten seconds or so, so
the answer is kept. Who knows the layers can tell the bytes of any precision and any quantization by arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..value import Value, key_of
from .child import ask_child
from .model import Component, ModelCard
from .whole import write_whole

TIME_LIMIT_S = 300


class Layer(Value):
    """Modules of a part that are alike: `count` of them, each with a weight of `shape` and so many `parameters`.

    name: the path of the module, with `*` for every number in it: `transformer_blocks.*.attn.to_q`.
    kind: its class, such as Linear; `Parameter` for one that stands on a module which has others in it, and `Buffer`
    for numbers that the files hold and that are not trained.
    parameters: of one module, with its bias.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    count: int
    parameters: int


class Block(Value):
    """A class of which a part has several, one after the other."""

    class_name: str
    count: int


class Composition(Value):
    """What a part is made of: all that its files hold, and the blocks that repeat. Empty for what is no model."""

    layers: tuple[Layer, ...] = ()
    blocks: tuple[Block, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers the files hold; weights that two modules share count once."""
        return sum(layer.count * layer.parameters for layer in self.layers)


def compositions_of(card: ModelCard, cache: Path) -> dict[str, Composition]:
    """Return what each component is made of. Only configurations are read, and what `cache` has is not built again.

    cache: a folder of answers, each for one configuration and the versions of what built it; made where it is missing.

    Raises ModelError where the installed libraries cannot build one of them.
    """
    files = {part.name: file for part in card.components if (file := _answer(card, part, cache))}
    known = {name: found for name, file in files.items() if (found := _kept(file))}
    new = [part for part in card.components if part.name in files and part.name not in known]
    for part, text in zip(new, _asked(card, new), strict=True):
        _keep(files[part.name], text)
        known[part.name] = parsed(json.loads(text))
    return {part.name: known.get(part.name, Composition()) for part in card.components}


def layers_of(card: ModelCard, component: str, cache: Path) -> tuple[Layer, ...]:
    """Return the layers of one component, none for what is no model. Else as `compositions_of`."""
    part = card.component(component)
    if part is None:
        msg = f"{card.name} has no {component}; it has {', '.join(each.name for each in card.components)}."
        raise ModelError(msg)
    return compositions_of(card.model_copy(update={"components": (part,)}), cache)[component].layers


def _asked(card: ModelCard, parts: Sequence[Component]) -> list[str]:
    """Return what a child says of parts, as JSON."""
    if not parts:
        return []
    words = [word for part in parts for word in (str(_folder(card, part)), part.library, part.class_name)]
    told = ask_child("autotune.probes.build", TIME_LIMIT_S, arguments=words)
    said = {"problem": f"building it without weights {told.problem}"} if told.problem else json.loads(told.text)
    if "problem" in said:
        msg = f"No model can be made of the configurations in {card.folder}: {said['problem']}."
        raise ModelError(msg)
    return [json.dumps(each) for each in said["parts"]]


def _folder(card: ModelCard, part: Component) -> Path:
    return Path(part.folder or Path(card.folder) / part.name)


def _answer(card: ModelCard, part: Component, cache: Path) -> Path | None:
    """Return the file in which the answer for a component is kept; None for what has no configuration of a model."""
    file = _folder(card, part) / "config.json"
    try:
        config = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        msg = f"{file} cannot be read ({error})."
        raise ModelError(msg) from error
    return cache / f"{key_of([part.library, part.class_name, config, *_versions()])}.json"


def _versions() -> list[str]:
    """Return the versions of what builds parts, so that answers of others are left alone."""
    return [f"{name} {version(name)}" for name in ("diffusers", "torch", "transformers") if find_spec(name)]


def _kept(file: Path) -> Composition | None:
    with suppress(OSError, ValueError):
        return parsed(json.loads(file.read_text(encoding="utf-8")))
    return None


def _keep(file: Path, text: str) -> None:
    """Write an answer, whole or not at all; what cannot be kept is built again."""
    with suppress(OSError):
        write_whole(file, text)


def parsed(content: Any) -> Composition:
    """Return what `build` said. Raises ValueError where it is something else."""
    try:
        return Composition(
            layers=tuple(
                Layer(name=name, kind=kind, shape=tuple(shape), count=count, parameters=parameters)
                for name, kind, shape, count, parameters in content["layers"]
            ),
            blocks=tuple(Block(class_name=name, count=count) for name, count in content["blocks"]),
        )
    except (KeyError, TypeError) as error:
        msg = f"no composition of a part: {error}"
        raise ValueError(msg) from error
