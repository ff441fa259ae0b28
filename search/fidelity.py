"""How close a recipe's images are to the baseline's own, in tiers that people can ask for.

The tiers are those of published LPIPS values: 0.09 for W8A8 and 0.12 for fp8 by row (near, to 0.10), 0.26 to 0.27 for
4 bits (close, to 0.25), 0.36 to 0.50 for fast caches (similar, to 0.45). What SSIM is at these three is read off the 48
caches of `benchmarks/tables/cache_dit_flux_l20_wide.csv`, which has both of each; it stands in where LPIPS is not at
hand. Tables give means, so tiers are of means. PSNR is reported and asks for nothing: tables do not agree on how it is
averaged.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

Tier = Literal["near", "close", "similar"]
TIERS: tuple[Tier, ...] = get_args(Tier)
"""The closest first."""

MOST_LPIPS: dict[Tier, float] = {"near": 0.10, "close": 0.25, "similar": 0.45}
LEAST_SSIM: dict[Tier, float] = {"near": 0.89, "close": 0.76, "similar": 0.61}


def missed(tier: Tier, ssim: Sequence[float], lpips: Sequence[float] = ()) -> float:
    """Return by how much images miss a tier; 0 or less means that they are in it.

    ssim: structural similarity of each with the baseline's; lpips: the distance of each from it, which decides where it
    is known. Without images every tier is missed.
    """
    if lpips:
        return statistics.fmean(lpips) - MOST_LPIPS[tier]
    return LEAST_SSIM[tier] - (statistics.fmean(ssim) if ssim else -1.0)


def tier_of(ssim: Sequence[float], lpips: Sequence[float] = ()) -> Tier | None:
    """Return the closest tier that images are in, None if that is none."""
    return next((tier for tier in TIERS if missed(tier, ssim, lpips) <= 0), None)
