"""The configurations that ship with autotune, for models whose files are not here, and what they stand for.

`configurations/NAME.json` holds the files of a model's folder by their paths, without weights; a file that another
model has too is written once, and named elsewhere: `{"same_as": "flux-dev/text_encoder_2/config.json"}`.
`layers/NAME.json` holds what each component is made of, so that this is known without torch;
`python -m autotune.planner.catalogue.rebuild` writes it anew with the installed libraries.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from ... import shapes
from ...probes.layers import Composition, compositions_of, parsed
from ...probes.model import ModelCard, Weights, read_model
from ...search.demand import Demand
from ...search.demand import parsed as parsed_demands
from ...store.places import cache_dir, make_folder
from ...value import key_of
from .entries import Entry

HERE = resources.files(__package__)


@cache
def shipped_files(name: str) -> Mapping[str, Any]:
    """Return the configurations of a model by their paths, those of others filled in; empty where none ship."""
    return {path: _content(f"{name}/{path}")[1] for path in written(name)}


@cache
def written(name: str) -> dict[str, Any]:
    """Return the configurations of a model as they are written there."""
    file = HERE / "configurations" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _content(place: str) -> tuple[str, Any]:
    """Return where a file is really written, and what it holds."""
    name, _, path = place.partition("/")
    content = written(name)[path]
    return _content(content["same_as"]) if "same_as" in content else (place, content)


def shipped_composition(name: str, component: str) -> Composition:
    """Return what a component of a model is made of, empty for one that is no model or is not known."""
    path = f"{component}/config.json"
    owner, part = _content(f"{name}/{path}")[0].split("/")[:2] if path in written(name) else (name, component)
    return _compositions(owner).get(part, Composition())


@cache
def _compositions(name: str) -> dict[str, Composition]:
    file = HERE / "layers" / f"{name}.json"
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {part: parsed(said) for part, said in content.items()}


def card_without_weights(name: str, entry: Entry, weights: Weights = "none") -> ModelCard:
    """Return the card of a model whose configurations ship; parameters and bytes are those that its files would have.

    weights: `random` where they are made up.

    Raises StoreError where the folder cannot be made.
    """
    card = read_model(folder_of(name), name, weights)
    for part in card.components:
        parameters = shipped_composition(name, part.name).parameters
        size = parameters * entry.bytes_a_parameter(part.name)
        card = card.with_component(part.model_copy(update={"parameters": parameters, "bytes": size}))
    return card


def folder_of(name: str) -> Path:
    """Return a folder with the configurations of a model; it is written where it is missing or not as it should be."""
    folder, texts = _place(name), _texts(name)
    if not _is_whole(folder, texts):
        make_folder(folder.parent)
        _put(folder, texts)
    return folder


def _texts(name: str) -> dict[str, str]:
    return {path: json.dumps(content, indent=2) + "\n" for path, content in shipped_files(name).items()}


def _place(name: str) -> Path:
    """Return the folder of a model's configurations; what is written otherwise has another."""
    return cache_dir(make=False) / "configurations" / f"{name}-{key_of(_texts(name))}"


def _is_whole(folder: Path, texts: Mapping[str, str]) -> bool:
    with suppress(OSError, ValueError):
        return all((folder / path).read_text(encoding="utf-8") == text for path, text in texts.items())
    return False


def _put(folder: Path, texts: Mapping[str, str]) -> None:
    """Write a folder and move it to its place: nobody sees a part of it."""
    draft = Path(mkdtemp(prefix=".draft-", dir=folder.parent))
    for path, text in texts.items():
        (draft / path).parent.mkdir(exist_ok=True)
        (draft / path).write_text(text, encoding="utf-8")
    if folder.exists():  # it was damaged
        shutil.rmtree(folder, ignore_errors=True)
    try:
        draft.replace(folder)
    except OSError:  # another process was first
        shutil.rmtree(draft, ignore_errors=True)


def sized(card: ModelCard) -> ModelCard:
    """Return the card with the parameters of each component, where weights are made up and no files say how many.

    Raises ModelError where the installed classes make nothing of the configurations.
    """
    if card.weights != "random" or card.denoiser.parameters:
        return card
    made_of = compositions(card)
    counted = (each.model_copy(update={"parameters": made_of[each.name].parameters}) for each in card.components)
    return card.model_copy(update={"components": tuple(counted)})


def compositions(card: ModelCard) -> dict[str, Composition]:
    """Return what each component is made of: as it ships where the card is made of that, else as a child finds it out.

    Raises ModelError where the installed libraries cannot build it.
    """
    name = _shipped_name(card)
    if name:
        return {part.name: shipped_composition(name, part.name) for part in card.components}
    return compositions_of(card, cache_dir(make=False) / "compositions")


def shipped_demands(card: ModelCard) -> tuple[Demand, ...]:
    """Return what the parts of a model take while they compute, as it ships; empty where nothing does."""
    name = _shipped_name(card)
    file = HERE / "demands" / f"{name}.json"
    return parsed_demands(json.loads(file.read_text(encoding="utf-8"))) if name and file.is_file() else ()


def _shipped_name(card: ModelCard) -> str:
    """Return whose configurations, of those that ship, a card is made of; empty where it is made of others."""
    folder = Path(card.folder)
    if folder == shapes.WEIGHTS.resolve():
        return "shapes"
    name = folder.name.rpartition("-")[0]
    return name if name and written(name) and folder == _place(name).resolve() else ""
