"""Tiers of fidelity: that they are ordered, are what was published, and constrain a trial where they are asked for."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import UsageError
from autotune.planner.request import Request, task_of
from autotune.search.fidelity import LEAST_SSIM, MOST_LPIPS, TIERS, Tier, missed, tier_of
from autotune.search.measured import Quality

from ..cli.results import task_of as made_task

PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "tables" / "cache_dit_flux_l20_wide.csv"


def quality(fidelity: Tier | None, *ssim: float) -> Quality:
    scores = (90.0,) * max(1, len(ssim))
    return Quality(scorer="s", scores=scores, baseline_scores=scores, bound=0.0, likeness=ssim, fidelity=fidelity or "")


@given(st.lists(st.floats(-1, 1), max_size=32))
def test_a_closer_tier_asks_for_more(ssim: list[float]) -> None:
    misses = [missed(tier, ssim) for tier in TIERS]
    assert misses == sorted(misses, reverse=True)
    assert tier_of(ssim) == next((tier for tier, miss in zip(TIERS, misses, strict=True) if miss <= 0), None)


def test_images_are_in_the_closest_tier_that_their_mean_allows() -> None:
    assert [tier_of([ssim, ssim]) for ssim in (1.0, 0.89, 0.88, 0.7, 0.6)] == ["near", "near", "close", "similar", None]
    assert tier_of([]) is None, "of what was not seen nothing is known"


@pytest.mark.parametrize("tier", TIERS)
def test_ssim_is_what_published_caches_have_at_the_lpips_of_a_tier(tier: Tier) -> None:
    with PUBLISHED.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["lpips"] and row["ssim"]]
    pairs = sorted((float(row["lpips"]), float(row["ssim"])) for row in rows)
    lpips, ssim = zip(*pairs, strict=True)
    assert np.interp(MOST_LPIPS[tier], lpips, ssim) == pytest.approx(LEAST_SSIM[tier], abs=0.01)


def test_what_is_asked_for_is_a_constraint() -> None:
    assert quality(None, *[0.8] * 8).shortfall(0.01) < 0
    assert quality("close", *[0.8] * 8).shortfall(0.01) < 0
    assert quality("near", *[0.8] * 8).shortfall(0.01) == pytest.approx(9)
    assert quality("similar").shortfall(0.01) > 0, "of what was not seen nothing is known"


def test_a_worse_score_stays_worse_however_close_the_images_are() -> None:
    close = quality("near", *[1.0] * 8).model_copy(update={"bound": -5.0})
    assert close.shortfall(0.01) == pytest.approx(4.1)


def test_only_what_can_be_judged_may_be_asked_for() -> None:
    with pytest.raises(UsageError, match="--scorer"):
        made_task(fidelity="near")
    with pytest.raises(UsageError, match=r"near, close or similar, and 'same'"):
        task_of(Request(model="shapes", fidelity="same"), made_task().machine)


def test_plans_of_another_fidelity_are_others() -> None:
    plain, near = (made_task(scorer=Path("/s"), fidelity=fidelity).scope for fidelity in ("", "near"))
    assert plain.key != near.key
    assert plain.key == plain.model_copy(update={"fidelity": ""}).key
