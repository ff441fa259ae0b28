"""From what a user types to a model: short names, folders in diffusers format, files, and repositories of the hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from ... import planner, shapes
from ...errors import ModelError, UsageError
from ...probes.classes import parameters
from ...probes.model import ModelCard, Weights, read_model
from ...search.limits import nearest
from ...search.workload import Workload
from ..checkpoint.header import SUFFIXES, is_checkpoint
from ..checkpoint.place import origin_of
from ..hub.cache import with_weights
from ..hub.fetch import find
from ..hub.names import HubName, parse_name
from ..prompts import shipped_prompts
from .configurations import card_without_weights, shipped_files
from .entries import SHAPES, Entry, entries
from .single_file import SingleFile, single_file


@dataclass(frozen=True)
class Model:
    """A model that can be tuned, with what is asked of it unless the user says otherwise.

    scorer: the folder of the CLIPModel that judges its images, None where there is none.
    budget_s: how long a search may take by default. entry: what the catalogue says of it, None for a folder or
    a file. file: the file that it is in, None for all others.
    """

    card: ModelCard
    workload: Workload
    prompts: tuple[str, ...]
    calibration_prompts: tuple[str, ...]
    scorer: Path | None
    budget_s: float
    entry: Entry | None = None
    file: SingleFile | None = None


VIDEO_FRAMES = 17  # a second, nearly: what a video model is asked for unless the user says otherwise


def find_model(text: str, weights: Weights = "files") -> Model:
    """Return the model that a user means: a short name, a folder, a file, or `org/name[@revision]` at the hub.

    weights: `files` takes what is on this machine; where that has none of a named model, its card has `weights="none"`,
    and what it would be with them: everything but running it works. `none` and `random` do not ask for any, and nothing
    judges the images of made-up ones.

    Raises ModelError with near names where there is no such model, and where one of the hub cannot be had.
    """
    if text == "shapes":
        return _shapes(weights)
    known = entries()
    if text in known:
        return _named(text, known[text], weights)
    folder = _existing(text)
    if folder and is_checkpoint(folder):
        return _in_file(single_file(folder), weights)
    if folder:
        return _local(read_model(folder, weights=weights))
    if text.lower().endswith(SUFFIXES):
        msg = f"There is no file {text!r}."
        raise ModelError(msg)
    at_hub = parse_name(text)
    if at_hub:
        return _local(find(at_hub, weights))
    near = get_close_matches(text.lower(), known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known names: {', '.join(known)}."
    msg = f"There is no model {text!r}. {hint} A folder in diffusers format, or a file, can be given by its path."
    raise ModelError(msg)


def hub_name(text: str) -> HubName | None:
    """Return the repository of the hub that a user means; None for a model that is none, or is here as a folder."""
    entry = entries().get(text)
    if entry:
        return parse_name(entry.hub)
    return None if _existing(text) else parse_name(text)


def named_at_hub(text: str) -> HubName:
    """Return the repository of the hub that a user means. Raises UsageError where another model is meant, or none."""
    name = hub_name(text)
    if name is None:
        msg = (
            f"{text} is not fetched: a model of the hub is named org/name[@revision], or is one of the catalogue, "
            f"and no folder here is called so."
        )
        raise UsageError(msg)
    return name


def asked_as(card: ModelCard) -> str:
    """Return the text by which `find_model` finds the model again, wherever it is asked."""
    named = card.name in entries() or parse_name(card.name)
    return card.name if named else origin_of(Path(card.folder)) or card.folder


def _existing(text: str) -> Path | None:
    """Return what is at a path, even if it may not be looked at; None where nothing is."""
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except PermissionError:
        return path
    except (OSError, RuntimeError):  # too long for a path, or ~ of nobody
        return None


def _shapes(weights: Weights) -> Model:
    return Model(
        card=read_model(shapes.WEIGHTS, "shapes", weights),
        workload=SHAPES.workload or Workload(width=128, height=128, steps=20, guidance=3.0),
        prompts=shipped_prompts(shapes),
        calibration_prompts=(
            "a large red circle on a blue background",
            "a small green star in the top left on a white background",
        ),
        scorer=shapes.SCORER if weights == "files" else None,
        budget_s=270,
        entry=SHAPES,
    )


def _named(name: str, entry: Entry, weights: Weights) -> Model:
    """Return a model of the catalogue; of one that a user has added, the hub is asked what it is. Raises ModelError."""
    if entry.folder:
        return _local(read_model(Path(entry.folder).expanduser(), name, weights), entry)
    here = with_weights(HubName(entry.hub))
    if here:
        return _local(read_model(here, name, weights), entry)
    if not shipped_files(name):
        card = find(HubName(entry.hub), weights)
        return _local(card.model_copy(update={"name": name}), entry)
    return _local(card_without_weights(name, entry, "none" if weights == "files" else weights), entry)


def _local(card: ModelCard, entry: Entry | None = None) -> Model:
    prompts = shipped_prompts(planner)
    return Model(
        card=card,
        workload=(entry and entry.workload) or _usual(card),
        prompts=prompts,
        calibration_prompts=prompts[:2],
        scorer=None,
        budget_s=1200,
        entry=entry,
    )


def _in_file(file: SingleFile, weights: Weights) -> Model:
    """Return the model in a file; what is asked of it by default is asked of the one that it is laid out like."""
    model = _local(file.card(weights), file.entry)
    return replace(model, entry=None, file=file)


def _usual(card: ModelCard) -> Workload:
    frames = VIDEO_FRAMES if "num_frames" in parameters(card.pipeline_class) else 1
    pixels = card.native_pixels or 512
    return nearest(card, Workload(width=pixels, height=pixels, steps=20, guidance=7.5, frames=frames))
