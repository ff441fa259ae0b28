"""Which files of a repository count, and whether it can be used at all: decided before any weights are fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ...errors import ModelError
from ...probes.model import INDEX, UNSAFE_SUFFIXES, Component

STEMS = ("diffusion_pytorch_model", "model")
"""How diffusers and transformers call a component's weights."""

SMALL = (".json", ".txt", ".model", ".jinja")
"""Configurations, and the files of tokenizers; a chat template (.jinja) is run in a sandbox by transformers."""

WITHOUT_WEIGHTS = ("Tokenizer", "Scheduler", "Processor", "FeatureExtractor")

_SHARD = re.compile(r"(?P<stem>[^.]+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")


@dataclass(frozen=True)
class File:
    """A file of a repository at one commit.

    etag: what its content is called in the cache. sha256: of its content, empty where the hub does not tell.
    """

    name: str
    size_bytes: int
    etag: str
    sha256: str = ""


def parts_of(index: dict[str, Any]) -> tuple[str, ...]:
    """Return the folders that a model_index.json names: those of components that are there."""
    return tuple(
        sorted(
            name
            for name, classes in index.items()
            if isinstance(classes, list) and any(classes) and name.isidentifier()
        )
    )


def small_files(files: Iterable[File], parts: Sequence[str]) -> list[File]:
    """Return what a pipeline has beside its weights. Indexes of weights in other formats and variants are left out."""
    return [file for file in files if file.name == INDEX or (_part(file) in parts and _is_small(file))]


def weight_files(files: Iterable[File], components: Iterable[Component]) -> list[File]:
    """Return the weights of a pipeline, without variants, and of each component one form alone."""
    files = list(files)
    wanted = {f"{part.name}/{name}" for part in components for name in weights_in(_names_in(files, part.name), part)}
    return [file for file in files if file.name in wanted]


def weights_in(names: Iterable[str], component: Component) -> tuple[str, ...]:
    """Return which of the files in a component's folder are its weights: one file, or all its shards; () for none.

    A variant has a dot in its name (`model.fp16.safetensors`). Where both forms are there, the one file is enough.
    """
    names = set(names)
    stems = STEMS[::-1] if component.library == "transformers" else STEMS
    for stem in stems:
        if f"{stem}.safetensors" in names:
            return (f"{stem}.safetensors",)
    for stem in stems:
        shards = [found for name in names if (found := _SHARD.fullmatch(name)) and found["stem"] == stem]
        for count in {found["count"] for found in shards}:
            whole = tuple(sorted(found.string for found in shards if found["count"] == count))
            if len(whole) == int(count):
                return whole
    return ()


def needs_weights(component: Component, names: Iterable[str]) -> bool:
    """Return whether a component is a model: by the name of its class, and by its config.json."""
    return "config.json" in set(names) and not any(word in component.class_name for word in WITHOUT_WEIGHTS)


def refuse_unusable(repo: str, files: Iterable[File], components: Iterable[Component]) -> None:
    """Raise ModelError where a component has no weights that autotune reads: pickles alone, variants alone, or none."""
    files = list(files)
    for component in components:
        names = _names_in(files, component.name)
        if not needs_weights(component, names) or weights_in(names, component):
            continue
        variants = [name for name in names if name.endswith(".safetensors")]
        pickled = [name for name in names if PurePosixPath(name).suffix in UNSAFE_SUFFIXES]
        where = f"{repo} has its {component.name} only"
        if variants:
            msg = f"{where} as {variants[0]}, and a variant is not what is tuned: nothing of it is fetched."
        elif pickled:
            msg = (
                f"{where} as pickled weights ({pickled[0]}), which can run code, so they are not fetched: look for "
                f"a revision or a repository with safetensors."
            )
        else:
            msg = f"{repo} has no weights for its {component.name}: it is not fetched."
        raise ModelError(msg)


def refuse_own_code(repo: str, facts: dict[str, dict[str, Any]]) -> None:
    """Raise ModelError where a configuration asks for code that the repository brings along.

    facts: the content of JSON files, by their names in the repository.
    """
    for name, content in facts.items():
        asked = next((key for key in ("auto_map", "custom_pipeline", "_custom_pipeline") if content.get(key)), None)
        own_class = name == INDEX and not isinstance(content.get("_class_name"), str)
        if asked or own_class:
            msg = (
                f"{repo} brings code of its own ({asked or '_class_name'} in {name}), which autotune does not run, "
                f"so its weights are not fetched."
            )
            raise ModelError(msg)


def _part(file: File) -> str:
    folder, _, name = file.name.partition("/")
    return folder if name and "/" not in name else ""


def _names_in(files: Iterable[File], part: str) -> list[str]:
    return sorted(file.name.partition("/")[2] for file in files if _part(file) == part)


def _is_small(file: File) -> bool:
    name = file.name.partition("/")[2]
    if ".index." in name:
        return name in {f"{stem}.safetensors.index.json" for stem in STEMS}
    return PurePosixPath(name).suffix in SMALL
