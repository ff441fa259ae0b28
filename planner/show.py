"""What is known of a model before anything of it runs: `autotune show`."""

from __future__ import annotations

from typing import Literal

from ..errors import ModelError
from ..probes.layers import Block, Composition
from ..probes.model import ModelCard
from ..search.workload import Workload
from ..value import Value
from .catalogue import find_model, hub_name
from .catalogue.configurations import compositions


class Part(Value):
    """A component: its class, its size in files, and the blocks that repeat in it."""

    name: str
    library: str
    class_name: str
    parameters: int
    bytes: int
    blocks: tuple[Block, ...] = ()


class Shown(Value):
    """A model for people. `hub` is empty where it is a folder alone, `licence` where nobody said.

    `file` is a single file, empty for all other models; `like` is what of the catalogue it is laid out like, and
    `elsewhere` are the parts that it lacks and takes from there.

    `weights_here` says whether it can run on this machine now; without weights, parameters and bytes are those of the
    files that are downloaded. `denoiser` is empty where autotune knows none.
    """

    schema_version: int = 1
    model: str
    pipeline_class: str
    hub: str
    licence: str
    gated: bool
    weights_here: bool
    folder: str
    revision: str
    denoiser: Literal["UNet", "DiT", ""]
    parts: tuple[Part, ...]
    workload: Workload
    file: str = ""
    like: str = ""
    elsewhere: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """The size of all files of weights."""
        return sum(part.bytes for part in self.parts)


def show(text: str) -> Shown:
    """Return what is known of a model, by its name or its folder. Raises ModelError where there is none."""
    model = find_model(text)
    card, entry = model.card, model.entry
    made_of = _made_of(card)
    return Shown(
        model=card.name,
        pipeline_class=card.pipeline_class,
        hub=str(hub_name(text) or ""),
        licence=entry.licence if entry else "",
        gated=bool(entry and entry.gated),
        weights_here=card.weights == "files",
        folder=card.folder,
        revision=card.revision,
        denoiser=_kind(card),
        parts=tuple(
            Part(
                name=each.name,
                library=each.library,
                class_name=each.class_name,
                parameters=each.parameters,
                bytes=each.bytes,
                blocks=made_of[each.name].blocks if each.name in made_of else (),
            )
            for each in card.components
        ),
        workload=model.workload,
        file=str(model.file.header.file) if model.file else "",
        like=model.file.like if model.file else "",
        elsewhere=model.file.elsewhere if model.file else (),
    )


def _made_of(card: ModelCard) -> dict[str, Composition]:
    """Return what the components are made of, nothing where the installed libraries cannot tell."""
    try:
        return compositions(card)
    except ModelError:
        return {}


def _kind(card: ModelCard) -> Literal["UNet", "DiT", ""]:
    if card.has("transformer"):
        return "DiT"
    return "UNet" if card.has("unet") else ""
