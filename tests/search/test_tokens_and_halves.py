"""Knobs of transformers that change neither weights nor caches: fused projections, guidance, merged tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autotune.search.assemble import assemble
from autotune.search.knobs import fuse_qkv, guidance
from autotune.search.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from .small import Small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]  # torch and transformers warn of each other's ways

FUSED = Recipe(turned={"fuse_qkv": True})
CUTOFF = Recipe(turned={"guidance_cutoff": 0.5})
ROUNDING = 1e-4


def projections(denoiser: Any) -> list[str]:
    """Return the last part of the name of each projection that runs, as long as the denoiser is called."""
    ran: list[str] = []
    for name, module in denoiser.named_modules():
        part = name.rpartition(".")[2]
        if part in {"to_q", "to_k", "to_v", "to_qkv", "to_kv", "to_added_qkv"}:
            module.register_forward_hook(lambda *_, part=part: ran.append(part))
    return ran


@pytest.mark.parametrize("name", ["sdxl", "flux", "sd3", "pixart", "wan"])
def test_fused_projections_run_instead_of_the_three(name: str, small: Callable[[str], Small]) -> None:
    each = small(name)
    assert fuse_qkv.refuses(choice=True, setting=each.setting) is None
    pipe = assemble(FUSED, each.bench)
    ran = projections(getattr(pipe, each.setting.card.denoiser.name))
    fused = each.image(pipe=pipe)
    assert {"to_qkv", "to_k", "to_v"} & set(ran) == {"to_qkv"}
    assert np.abs(fused - each.image()).max() < ROUNDING


@pytest.mark.parametrize("name", ["sana", "ltx"])
def test_projections_whose_fusing_would_change_nothing_are_left_alone(name: str, small: Callable[[str], Small]) -> None:
    each = small(name)
    assert "does not use fused projections" in (fuse_qkv.refuses(choice=True, setting=each.setting) or "")
    pipe = assemble(Recipe(), each.bench)
    pipe.transformer.fuse_qkv_projections()
    ran = projections(pipe.transformer)
    each.image(pipe=pipe)
    assert not {"to_qkv", "to_kv"} & set(ran), "diffusers fuses it now: let the knob"


def rows(denoiser: Any) -> list[int]:
    """Return the batch size of each call of a denoiser, as long as it is called."""
    sizes: list[int] = []

    def note(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
        sizes.append(len(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]))

    denoiser.register_forward_pre_hook(note, with_kwargs=True)
    return sizes


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", ["sdxl", "sd3", "sana", "ltx", "wan"])
def test_guidance_ends_half_way(name: str, batch: int, small: Callable[[str], Small]) -> None:
    each = small(name).with_workload(batch=batch)
    assert guidance.refuses(0.5, each.setting) is None
    pipe = assemble(CUTOFF, each.bench)
    sizes = rows(getattr(pipe, each.setting.card.denoiser.name))
    images = [each.image(CUTOFF, pipe) for _ in range(2)]
    whole_call = [batch] * 18 if name == "wan" else [2 * batch] * 6 + [batch] * 6
    assert sizes == whole_call * 2
    assert np.array_equal(images[0], images[1])
    assert np.abs(images[0] - each.image()).max() > 0


@pytest.mark.parametrize("name", ["pixart", "flux"])
def test_guidance_that_cannot_be_ended_is_refused(name: str, small: Callable[[str], Small]) -> None:
    assert "lets no callback end its guidance" in (guidance.refuses(0.5, small(name).setting) or "")


@pytest.mark.parametrize("choice", ["first_block_0.2", "taylorseer_5", "pab_246"])
def test_caches_begin_anew_when_guidance_ends(choice: str, small: Callable[[str], Small]) -> None:
    recipe = Recipe(turned={"guidance_cutoff": 0.5, "feature_cache": choice})
    each = small("ltx")
    images = [each.image(recipe), each.image(CUTOFF)]
    assert np.isfinite(images[0]).all()
    assert np.abs(images[0] - images[1]).mean() < 0.05


def test_tokens_are_merged_in_sdxl_too(small: Callable[[str], Small]) -> None:
    import tomesd

    each = small("sdxl")
    pipe = assemble(Recipe(turned={"tome_ratio": 0.5}), each.bench)
    block = next(module for module in pipe.unet.modules() if type(module).__name__ == "ToMeBlock")
    tokens: list[int] = []
    block.attn1.register_forward_pre_hook(lambda _, args: tokens.append(args[0].shape[1]))
    merged = each.image(pipe=pipe)
    tomesd.remove_patch(pipe)
    kept = len(tokens)
    each.image(pipe=pipe)
    assert 2 * tokens[0] == tokens[kept]
    assert np.abs(merged - each.image()).max() > 0
