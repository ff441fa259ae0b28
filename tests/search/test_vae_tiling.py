"""Tiles and slices: told to the VAEs that have them, refused where they would do nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autotune.errors import UnfitError
from autotune.search.assemble import assemble
from autotune.search.knobs import Setting
from autotune.search.knobs.vae_tiling import VAE_TILING
from autotune.search.pipeline import call_pipeline
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.verify.architectures import ARCHITECTURES, Architecture
from autotune.tests.search.small import bench_of

if TYPE_CHECKING:
    from pathlib import Path

    from autotune.probes.machine import Machine

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # transformers warns of what small models lack

TILING, SLICING = (Recipe(turned={"vae_tiling": choice}) for choice in ("tiling", "slicing"))
SMALL_TILES = ("sd", "sdxl", "flux", "sd3", "pixart")  # as large as the VAE's sample_size, which is 32; others 256, 512


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
def test_slices_are_exact_and_tiles_blend(architecture: Architecture, machine: Machine, tmp_path: Path) -> None:
    """AutoencoderKLWan among them, of which diffusers' guide says that it can do neither."""
    bench = bench_of(architecture, tmp_path, steps=1, width=64, height=64, batch=2)
    setting = Setting(machine, bench.card, bench.workload, "cpu")
    pipe = assemble(UNMODIFIED, bench)
    calls: list[int] = []
    pipe.vae.decoder.register_forward_hook(lambda *_: calls.append(1))

    def image() -> np.ndarray:
        calls.clear()
        found: np.ndarray = np.asarray(call_pipeline(pipe, bench.workload, "a red circle", 3, output_type="np"))
        return found

    plain, at_once = image(), len(calls)
    VAE_TILING.apply(pipe, SLICING.turned, bench)
    assert VAE_TILING.refuses("slicing", setting) is None
    assert np.abs(image() - plain).max() < 1e-4
    assert len(calls) == 2 * at_once
    pipe.vae.disable_slicing()
    if architecture.name in SMALL_TILES:
        assert VAE_TILING.refuses("tiling", setting) is None
        VAE_TILING.apply(pipe, TILING.turned, bench)
        assert np.abs(image() - plain).max() > 1e-3
        assert len(calls) > at_once
    else:
        assert "no larger than a tile" in (VAE_TILING.refuses("tiling", setting) or "")
        with pytest.raises(UnfitError, match="no larger than a tile"):
            VAE_TILING.apply(pipe, TILING.turned, bench)


def test_what_would_do_nothing_is_refused(machine: Machine, tmp_path: Path) -> None:
    bench = bench_of(ARCHITECTURES[0], tmp_path, steps=1)
    setting = Setting(machine, bench.card, bench.workload, "cpu")
    assert "batch of 1" in (VAE_TILING.refuses("slicing", setting) or "")
    assert "32x32 is no larger than a tile" in (VAE_TILING.refuses("tiling", setting) or "")
    wide = replace(setting, workload=bench.workload.model_copy(update={"width": 48}))
    assert VAE_TILING.refuses("tiling", wide) is None
    parts = [
        each.model_copy(update={"class_name": "AsymmetricAutoencoderKL"}) if each.name == "vae" else each
        for each in bench.card.components
    ]
    without = replace(wide, card=bench.card.model_copy(update={"components": tuple(parts)}))
    assert VAE_TILING.refuses("tiling", without) == "AsymmetricAutoencoderKL has no tiling"
