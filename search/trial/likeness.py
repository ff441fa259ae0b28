"""How like the baseline's own image an image is: what a CLIP score cannot see."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

MOST_PSNR = 100.0
"""What two images that are the same are said to have: infinity is no number in JSON."""
NOISE = 0.3
"""Neighbouring pixels that are less alike than this, as a correlation, have nothing to do with each other."""


def unlike(file: Path, reference: Path) -> str | None:
    """Return what is wrong with an image that is not so with the baseline's: its size, or that it is noise; or None."""
    from PIL import Image

    one, other = (Image.open(each).convert("L") for each in (file, reference))
    if one.size != other.size:
        return f"the image has {one.width}x{one.height} pixels, and the baseline's has {other.width}x{other.height}"
    if _smoothness(one) < NOISE <= _smoothness(other):
        return "the image is noise"
    return None


def psnr(file: Path, reference: Path) -> float:
    """Return the ratio of peak to noise of an image against another of its size, in decibels, over all channels."""
    from PIL import Image

    one, other = (np.asarray(Image.open(each).convert("RGB"), dtype=np.float64) for each in (file, reference))
    error = float(((one - other) ** 2).mean())
    return min(MOST_PSNR, 10 * math.log10(255**2 / error)) if error else MOST_PSNR


def _smoothness(gray_image: Any) -> float:
    """Return how much pixels are like their neighbours to the right and below: 1 as much as can be, 0 not at all."""
    gray = np.asarray(gray_image, dtype=np.float64)
    centred = gray - gray.mean()
    spread = float((centred**2).mean())
    pairs = ((centred[:, 1:], centred[:, :-1]), (centred[1:], centred[:-1]))
    return max(float((one * other).mean()) / spread for one, other in pairs) if spread else 1.0


def ssim(file: Path, reference: Path) -> float:
    """Return the structural similarity of two images of one size: 1 where they are the same, about 0 for strangers.

    With the Gaussian window of the paper, over all channels.
    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861; scikit-image, `structural_similarity`.
    """
    from PIL import Image
    from skimage.metrics import structural_similarity

    one, other = (np.asarray(Image.open(each).convert("RGB")) for each in (file, reference))
    found = structural_similarity(
        one, other, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(found)
