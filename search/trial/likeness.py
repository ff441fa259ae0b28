"""How like the baseline's own image an image is: what a CLIP score cannot see."""

from __future__ import annotations

from pathlib import Path

import numpy as np


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
