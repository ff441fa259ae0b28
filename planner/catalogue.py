"""From what a user types to a model on disk: short names, and folders in diffusers format."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from .. import shapes
from ..errors import ModelError
from ..probes.classes import abilities
from ..probes.model import ModelCard, read_model
from ..search.workload import Workload


@dataclass(frozen=True)
class Model:
    """A model that can be tuned, with what is asked of it unless the user says otherwise.

    scorer: the folder of the CLIPModel that judges its images, None where there is none.
    budget_s: how long a search may take by default.
    """

    card: ModelCard
    workload: Workload
    prompts: tuple[str, ...]
    calibration_prompts: tuple[str, ...]
    scorer: Path | None
    budget_s: float


NAMES = ("shapes",)
VIDEO_FRAMES = 17  # a second, nearly: what a video model is asked for unless the user says otherwise


def find_model(text: str) -> Model:
    """Return the model that a user means: a short name or a folder.

    Raises ModelError with near names where there is no such model.
    """
    if text == "shapes":
        return _shapes()
    folder = _existing(text)
    if folder:
        return _local(folder)
    near = get_close_matches(text.lower(), NAMES, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known names: {', '.join(NAMES)}."
    msg = f"There is no model {text!r}. {hint} A folder in diffusers format can be given by its path."
    raise ModelError(msg)


def asked_as(card: ModelCard) -> str:
    """Return the text by which `find_model` finds the model again, wherever it is asked."""
    return card.name if card.name in NAMES else card.folder


def _existing(text: str) -> Path | None:
    """Return what is at a path, even if it may not be looked at; None where nothing is."""
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except PermissionError:
        return path
    except (OSError, RuntimeError):  # too long for a path, or ~ of nobody
        return None


def _shapes() -> Model:
    held_out = _lines(resources.files(shapes) / "prompts.txt")
    return Model(
        card=read_model(shapes.WEIGHTS, "shapes"),
        workload=Workload(width=128, height=128, steps=20, guidance=3.0),
        prompts=held_out,
        calibration_prompts=(
            "a large red circle on a blue background",
            "a small green star in the top left on a white background",
        ),
        scorer=shapes.SCORER,
        budget_s=270,
    )


def _local(folder: Path) -> Model:
    card = read_model(folder)
    frames = VIDEO_FRAMES if "num_frames" in abilities(card.pipeline_class).parameters else 1
    pixels = card.native_pixels or 512
    prompts = _lines(resources.files(__package__) / "prompts.txt")
    return Model(
        card=card,
        workload=Workload(width=pixels, height=pixels, steps=20, guidance=7.5, frames=frames),
        prompts=prompts,
        calibration_prompts=prompts[:2],
        scorer=None,
        budget_s=1200,
    )


def _lines(file: resources.abc.Traversable) -> tuple[str, ...]:
    return tuple(line for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
