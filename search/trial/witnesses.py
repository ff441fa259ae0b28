"""What looks at images beside the scorer: further CLIP models, encoders of images such as DINO, and LPIPS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..witness import LPIPS_BACKBONE, LPIPS_WEIGHTS, kind_in
from .clip_score import Scorer

if TYPE_CHECKING:
    from collections.abc import Sequence


class Look(Protocol):
    """One such model, ready to look."""

    def figures(self, files: Sequence[Path], references: Sequence[Path], prompts: Sequence[str]) -> list[float]:
        """Return what it says of each image; references: the baseline's images of the same prompts."""


def opened(folder: Path) -> Look:
    """Return the model in a folder, in fp32 on the CPU: the pipeline's device is not its business."""
    match kind_in(folder):
        case "score":
            return ByPrompt(folder)
        case "likeness":
            return Encoder(folder)
        case "distance":
            return Lpips(folder)
    msg = f"{folder} holds no model that looks at images"
    raise ValueError(msg)


class ByPrompt:
    """A CLIPModel: how well an image fits its prompt, 100 * max(cosine, 0)."""

    def __init__(self, folder: Path) -> None:
        """Load it."""
        self._scorer = Scorer(folder)

    def figures(self, files: Sequence[Path], references: Sequence[Path], prompts: Sequence[str]) -> list[float]:
        """Return the score of each image; the baseline's are not looked at."""
        del references
        return self._scorer.scores(list(files), list(prompts))


class Encoder:
    """An encoder of images of transformers' classes: the cosine between an image's vector and its reference's.

    Source: Oquab et al. 2023, arXiv:2304.07193 (DINOv2), whose vector is that of the class token.
    """

    def __init__(self, folder: Path) -> None:
        """Load it."""
        import torch
        from transformers import AutoImageProcessor, AutoModel

        how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self._prepare = AutoImageProcessor.from_pretrained(folder, **how)
        self._model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **how).eval()

    def figures(self, files: Sequence[Path], references: Sequence[Path], prompts: Sequence[str]) -> list[float]:
        """Return how like its reference each image is: 1 where they are the same to this model."""
        del prompts
        cosines = (self._vectors(files) * self._vectors(references)).sum(-1)
        return [float(cosine) for cosine in cosines]

    def _vectors(self, files: Sequence[Path]) -> Any:
        """Return unit vectors of images, (n, hidden size)."""
        import torch
        from PIL import Image

        images = [Image.open(file).convert("RGB") for file in files]
        pixels = self._prepare(images=images, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            vectors = self._model(pixel_values=pixels).last_hidden_state[:, 0]
        return vectors / vectors.norm(dim=-1, keepdim=True)


class Lpips:
    """LPIPS with AlexNet, version 0.1: 0 where two images are the same, and the larger the less alike they look.

    The package `lpips` needs torchvision, of which this takes a network of five convolutions; a test has figures of it.
    Source: Zhang et al. 2018, arXiv:1801.03924; https://github.com/richzhang/PerceptualSimilarity.
    """

    SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
    TAPS = (1, 4, 7, 9, 11)
    """The layers of AlexNet's features whose outputs are compared: each convolution's after its ReLU."""

    def __init__(self, folder: Path) -> None:
        """Load both files, as tensors alone."""
        import torch

        self._layers = _alexnet()
        backbone = torch.load(next(folder.glob(LPIPS_BACKBONE)), map_location="cpu", weights_only=True)
        features = {name.removeprefix("features."): each for name, each in backbone.items() if "features." in name}
        self._layers.load_state_dict(features)
        weights = torch.load(folder / LPIPS_WEIGHTS, map_location="cpu", weights_only=True)
        self._weights = [weights[f"lin{index}.model.1.weight"] for index in range(len(self.TAPS))]

    def figures(self, files: Sequence[Path], references: Sequence[Path], prompts: Sequence[str]) -> list[float]:
        """Return how far from its reference each image is; both have one size, of at least 32 pixels a side."""
        del prompts
        return [self._distance(*pair) for pair in zip(files, references, strict=True)]

    def _distance(self, file: Path, reference: Path) -> float:
        import torch

        with torch.no_grad():
            pairs = zip(self._features(file), self._features(reference), self._weights, strict=True)
            return float(sum((weight * (one - other) ** 2).sum(1).mean() for one, other, weight in pairs))

    def _features(self, file: Path) -> list[Any]:
        """Return the outputs of the layers that are compared, each pixel's channels as a unit vector."""
        import torch
        from PIL import Image

        values = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) / 127.5 - 1
        shift, scale = (np.array(each, dtype=np.float32) for each in (self.SHIFT, self.SCALE))
        made = torch.from_numpy((values - shift) / scale).permute(2, 0, 1)[None]
        found = []
        for index, layer in enumerate(self._layers):
            made = layer(made)
            if index in self.TAPS:
                found.append(made / (made.norm(dim=1, keepdim=True) + 1e-10))
        return found


def _alexnet() -> Any:
    """Return AlexNet's features without the last pooling, as torchvision numbers them (arXiv:1404.5997)."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )
