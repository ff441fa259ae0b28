"""Images of a trial: whether they are images at all, and how they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FLAT = 1 / 255


def checked(images: Any) -> str | None:
    """Return what is wrong with the images, None if nothing is; comes before any score.

    images: floats in 0..1, (batch, height, width, 3), or (batch, frames, height, width, 3). An overflow in a
    half-precision VAE gives NaN or black frames, and a black frame still has a finite CLIP score.
    """
    pixels = np.asarray(images, dtype=np.float32)
    if not np.isfinite(pixels).all():
        return "the image holds NaN or infinity"
    for image in pixels.reshape(-1, *pixels.shape[-3:]):
        if float(image.max()) <= FLAT:
            return "the image is black"
        if float(image.std()) < FLAT:
            return "the image is one flat colour"
    return None


def save(image: Any, file: Path) -> None:
    """Write one image, floats in 0..1 of shape (height, width, 3), as PNG; of the frames of a video the middle one."""
    from PIL import Image

    pixels = np.asarray(image)
    still = pixels[len(pixels) // 2] if pixels.ndim == 4 else pixels
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((still * 255).round().astype(np.uint8)).save(file)
