"""A file of weights as a model: what of the catalogue it is laid out like, and what it has of it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ModelError
from ...probes.model import DENOISERS, ModelCard, Weights, read_model, revision_of
from ...value import key_of
from ..checkpoint.header import Header, read_header, unpacked_size
from ..checkpoint.layout import of_config, of_tensors
from ..checkpoint.parts import OPTIONAL, parts_in, within
from ..checkpoint.place import place_of
from ..hub.cache import descriptions, is_complete, shared_cache, snapshot
from ..hub.listing import needs_weights
from ..hub.names import HubName
from .configurations import card_without_weights, shipped_files
from .entries import Entry, entries, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class SingleFile:
    """A file, and the model of the catalogue that it is laid out like.

    base: the card of that, without weights. inside: the parts of it that lie in the file, with what stands before the
    names of their tensors. place: the folder that it is unpacked to.
    """

    header: Header
    like: str
    entry: Entry
    base: ModelCard
    inside: dict[str, str]
    place: Path

    @property
    def is_unpacked(self) -> bool:
        """Whether the folder is there, with all that it takes from elsewhere."""
        return self.place.is_dir() and is_complete(self.place)

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The parts with weights that the pipeline has and the file has not."""
        folder = Path(self.base.folder)
        return tuple(
            part.name
            for part in self.base.components
            if part.name not in (*self.inside, *OPTIONAL)
            and needs_weights(part, (file.name for file in (folder / part.name).iterdir()))
        )

    def card(self, weights: Weights) -> ModelCard:
        """Return the card: of the unpacked folder where it is there, else of configurations and of the header."""
        revision = key_of([self.header.digest, revision_of(Path(self.base.folder))])
        if weights == "files" and self.is_unpacked:
            card = read_model(self.place, self.header.file.name)
            return card.model_copy(update={"revision": revision})
        card = read_model(Path(self.base.folder), self.header.file.name, "none" if weights == "files" else weights)
        parts = []
        for part in self.base.components:
            if part.name in self.inside:
                parameters, size = unpacked_size(within(self.header.tensors, self.inside[part.name]))
                parts.append(part.model_copy(update={"parameters": parameters, "bytes": size}))
            elif part.name not in OPTIONAL or weights == "random":  # those are made by the index of the folder
                parts.append(part)
        if weights == "random":
            revision = key_of([revision, weights])
        return card.model_copy(update={"components": tuple(parts), "revision": revision})


def single_file(path: Path) -> SingleFile:
    """Return what a file of weights is.

    Raises ModelError where it is laid out like no model of the catalogue or is refused, and TechniqueMissingError
    where nothing here reads it.
    """
    header = read_header(path)
    name, entry, folder = _like(header)
    base = card_without_weights(name, entry) if folder is None else read_model(folder, name, weights="none")
    inside = parts_in(header.tensors, base.components)
    place = place_of(header, revision_of(Path(base.folder)))
    return SingleFile(header, name, entry, base, inside, place)


def _like(header: Header) -> tuple[str, Entry, Path | None]:
    """Return the entry of the catalogue whose denoiser has the layout of the file's, and where its configurations are.

    Where several have it, a word of the file's name decides, then the order of the catalogue, the user's own first.
    """
    if "v_pred" in header.tensors:
        msg = f"{header.file} predicts velocity, which no scheduler of the catalogue's models of its kind expects."
        raise ModelError(msg)
    layout = of_tensors(header.tensors)
    if layout is None:
        msg = (
            f"{header.file} is not recognised: autotune knows files of Stable Diffusion 1 and 2, SDXL, SD3 and Flux in "
            f"their first layout, the whole pipeline or the denoiser alone. Give a folder in diffusers format."
        )
        raise ModelError(msg)
    same = [found for found in _configured() if of_config(found[3]) == layout]
    if not same:
        msg = (
            f"{header.file} holds a {layout}, which no model of the catalogue is: add one that is to models.toml, with "
            f"the folder of its configurations."
        )
        raise ModelError(msg)
    stem = header.file.stem.lower()
    name, entry, folder, _ = max(same, key=lambda found: _likeness(found[0], stem))
    return name, entry, folder


def _likeness(name: str, stem: str) -> int:
    """Return the length of the longest word of a model's name that is in a file's: kontext decides before flux."""
    return max(len(word) * (word in stem) for word in name.split("-"))


def _configured() -> Iterator[tuple[str, Entry, Path | None, dict[str, Any]]]:
    """Yield every model whose configurations are here, the folder of those that do not ship, and its denoiser's."""
    known = entries()
    for name in sorted(known, key=lambda name: known[name] == shipped().get(name)):
        entry = known[name]
        files = {} if entry.folder else shipped_files(name)
        folder = None if files else _configurations(entry)
        for part in DENOISERS:
            if files and f"{part}/config.json" in files:
                yield name, entry, None, files[f"{part}/config.json"]
            elif folder:
                with suppress(OSError, ValueError):
                    yield name, entry, folder, json.loads((folder / part / "config.json").read_text(encoding="utf-8"))


def _configurations(entry: Entry) -> Path | None:
    if entry.folder:
        return Path(entry.folder).expanduser()
    name = HubName(entry.hub)
    return snapshot(shared_cache(), name) or snapshot(descriptions(), name)
