"""What `shapes` learns from: drawings, their latents, and what is said of them, on the way to the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .architecture import new_scorer, new_vae, text_encoder_of
from .draw import CORNERS, PIXELS, Scene, draw, random_scene
from .vocabulary import MAX_TOKENS, tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

MEAN = STD = 0.5


@dataclass(frozen=True)
class Course:
    """One training: where its checkpoints lie and its weights go, how many drawings of each size it sees.

    scale: the share of the usual steps; a small one tries the script.
    """

    folder: Path
    weights: Path
    images: int
    scale: float

    def steps(self, usual: int) -> int:
        """Return how many steps to make where `usual` are made at full scale."""
        return max(1, int(usual * self.scale))

    def trained(self, name: str, model: Any, *, average: bool = False) -> Any:
        """Return `model` with the weights of its last checkpoint, ready to use."""
        weights = torch.load(self.folder / f"{name}.pt", weights_only=True)["average" if average else "model"]
        if name == "scorer":
            weights = {key.removeprefix("clip."): value for key, value in weights.items() if key.startswith("clip.")}
        model.load_state_dict(weights)
        return model.eval()


def drawings(course: Course, pixels: int = PIXELS) -> tuple[np.ndarray, list[Scene]]:
    """Return the training images, uint8 of shape (n, pixels, pixels, 3), and their scenes; none held out."""
    scenes = list(_training_scenes(course.images, seed=pixels))
    return np.stack([draw(scene, Random(index), pixels) for index, scene in enumerate(scenes)]), scenes


def _training_scenes(count: int, seed: int) -> Iterator[Scene]:
    rng = Random(seed)
    while count:
        scene = random_scene(rng)
        if not scene.held_out:
            count -= 1
            yield scene


def normalised(images: np.ndarray) -> torch.Tensor:
    """Return uint8 images (n, h, w, 3) as floats in -1..1, (n, 3, h, w)."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return (pixels / 255 - MEAN) / STD


def tokens(words: Any, texts: list[str], *, shortest: bool = False) -> dict[str, torch.Tensor]:
    """Return the texts as token ids, padded to `MAX_TOKENS` as the pipeline does, or to the longest."""
    kind = "longest" if shortest else "max_length"
    encoded = words(texts, padding=kind, max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    return {"input_ids": encoded.input_ids}


def cuts(images: np.ndarray, rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Return square cuts from anywhere in any of the images, (count, side, side, 3)."""
    places = rng.integers(PIXELS - side, size=(count, 2))
    chosen = rng.integers(len(images), size=count)
    return np.stack([images[i, y : y + side, x : x + side] for i, (y, x) in zip(chosen, places, strict=True)])


def text_states(course: Course) -> torch.Tensor:
    """Return what the denoiser is told of each drawing, (1 + 2 * images, MAX_TOKENS, 128); the first is no text."""
    encoder = text_encoder_of(course.trained("scorer", new_scorer()))
    words = tokenizer()
    captions = [""]
    for pixels in (PIXELS // 2, PIXELS):
        captions += [scene.caption for scene in _training_scenes(course.images, seed=pixels)]
    batches = [captions[i : i + 256] for i in range(0, len(captions), 256)]
    with torch.no_grad():
        return torch.cat([encoder(**tokens(words, batch))[0] for batch in batches])


def latents(course: Course, pixels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the drawings' scaled latents, (images, 4, pixels/4, pixels/4), and their rows in `text_states`."""
    file = course.folder / f"latents-{pixels}.pt"
    if not file.exists():
        vae = course.trained("vae", new_vae())
        images = drawings(course, pixels)[0]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            parts = [
                vae.encode(normalised(images[i : i + 64])).latent_dist.mean.float() for i in range(0, course.images, 64)
            ]
        torch.save(torch.cat(parts), file)
    rows = torch.arange(course.images) + (1 if pixels < PIXELS else 1 + course.images)
    return torch.load(file, weights_only=True) * latent_scale(course), rows


def near(course: Course, values: torch.Tensor, owners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the half of each side of full-size `latents` that holds the thing, where that is small, and its row.

    A step costs a quarter, and the outline of a small thing is all there; what is in a corner stays towards it.
    """
    side = values.shape[-1] // 2
    scenes = _training_scenes(course.images, seed=PIXELS)
    small = [(i, CORNERS.get(scene.corner, (0.5, 0.5))) for i, scene in enumerate(scenes) if scene.size == "small"]
    cut = []
    for i, place in small:
        x, y = (round(2 * side * at - side * min(max(at, 0.36), 0.64)) for at in place)
        cut.append(values[i, :, y : y + side, x : x + side])
    return torch.stack(cut), owners[[i for i, _ in small]]


def latent_scale(course: Course) -> float:
    """Return the factor that gives the autoencoder's latents a standard deviation of one."""
    file = course.folder / f"latents-{PIXELS}.pt"
    if not file.exists():
        raise SystemExit("The latents are not made yet: run the unet stage first.")
    return 1.0 / float(torch.load(file, weights_only=True, mmap=True)[:2000].std())
