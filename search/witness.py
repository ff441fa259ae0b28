"""Another model that looks at images beside the one whose CLIP score decides: what it is, and what it said.

A folder says itself what it holds: a CLIPModel gives a score of its own (PickScore and HPSv2 are such models), an
encoder of images alone says how like the baseline's image one is (DINO), and LPIPS how far from it.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ..value import Value

Kind = Literal["score", "likeness", "distance"]

LPIPS_BACKBONE, LPIPS_WEIGHTS = "alexnet*.pth", "alex.pth"
"""What LPIPS consists of: AlexNet as torchvision gives it out, and what the distances in each of its layers count."""

ENCODERS = ("dinov2", "dinov2_with_registers", "dinov3_vit", "vit", "clip_vision_model")
"""Encoders of images, by their `model_type`, whose first token stands for the image."""


class Witness(Value):
    """What a further model said of a recipe's images, and of the baseline's for the same prompts and seeds.

    `model` names it, with a digest of its files. Of the kinds `likeness` and `distance` the baseline's figures are what
    its images are to themselves: 1, and 0.
    """

    model: str
    kind: Kind
    figures: tuple[float, ...] = Field(min_length=1)
    baseline_figures: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _paired(self) -> Witness:
        if len(self.figures) != len(self.baseline_figures):
            msg = f"{len(self.figures)} figures cannot be paired with {len(self.baseline_figures)} of the baseline."
            raise ValueError(msg)
        return self

    @property
    def mean(self) -> float:
        """The mean figure of the recipe's images."""
        return statistics.fmean(self.figures)

    @property
    def baseline_mean(self) -> float:
        """The mean figure of the baseline's images."""
        return statistics.fmean(self.baseline_figures)


def kind_in(folder: Path) -> Kind | None:
    """Return what the model in a folder says of images; None where it is none that is known."""
    if (folder / LPIPS_WEIGHTS).is_file() and next(folder.glob(LPIPS_BACKBONE), None):
        return "distance"
    needed = ("config.json", "preprocessor_config.json")
    if not all((folder / name).is_file() for name in needed) or not next(folder.glob("*.safetensors"), None):
        return None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        return None
    kind = config.get("model_type") if isinstance(config, dict) else None
    return "score" if kind == "clip" else "likeness" if kind in ENCODERS else None
