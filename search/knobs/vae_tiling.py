"""VAE tiling: images are decoded piece by piece, or one by one, so that a large one takes less memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import ModelError, UnfitError
from ...probes.classes import abilities
from ...probes.model import config_of
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ...probes.model import Component, ModelCard
    from ..recipe import Choice
    from ..workload import Workload

SIZES = ("tile_sample_min_size", "tile_sample_min_height", "tile_sample_min_width")


def refuses(choice: Choice, setting: Setting) -> str | None:
    """The VAE's class must be able to, and there must be more than one piece."""
    vae, workload = setting.card.component("vae"), setting.workload
    if vae is None:
        return f"{setting.card.pipeline_class} has no VAE"
    if f"use_{choice}" not in abilities(vae.class_name).attributes:
        return f"{vae.class_name} has no {choice}"
    if choice == "slicing":
        return "a batch of 1 is decoded in one slice anyhow" if workload.batch == 1 else None
    tile = tile_of(vae, setting.card)
    return _one_tile(workload, tile, tile) if tile else None


def tile_of(vae: Component, card: ModelCard) -> int | None:
    """Return the side of a tile in pixels, as far as the class or the model's configuration tells; None if neither."""
    known = abilities(vae.class_name).attributes
    written = next((known[name] for name in SIZES if isinstance(known.get(name), int)), None)
    if written or "tile_sample_min_size" not in known:
        return written
    try:
        size = config_of(card, vae.name).get("sample_size")
    except ModelError:
        return None
    return size if isinstance(size, int) else None


def _one_tile(workload: Workload, height: int, width: int) -> str | None:
    """Return the sentence that says that nothing would be tiled, None where something would."""
    if workload.height > height or workload.width > width:
        return None
    return f"an image of {workload.width}x{workload.height} is no larger than a tile, which has {width}x{height}"


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Tell the VAE. Tiles overlap and are blended, so that the image changes a little; slices change nothing.

    Raises UnfitError where the image turns out to be one tile. A warning in diffusers' guide that AutoencoderKLWan and
    AsymmetricAutoencoderKL could do neither holds for the second only: the first was run.

    Source: https://huggingface.co/docs/diffusers/optimization/memory (VAE tiling, VAE slicing);
    diffusers 0.42, models/autoencoders/vae.py (`AutoencoderMixin`)
    """
    vae = pipe.vae
    if choices["vae_tiling"] == "slicing":
        vae.enable_slicing()
        return
    vae.enable_tiling()
    sizes = [int(getattr(vae, name)) for name in SIZES if hasattr(vae, name)]
    nothing = _one_tile(bench.workload, sizes[0], sizes[-1]) if sizes else None
    if nothing:
        raise UnfitError(nothing[0].upper() + nothing[1:] + ".")


VAE_TILING = Knob(
    name="vae_tiling",
    says="the VAE decodes a batch one by one (slicing), or an image in tiles that overlap (tiling): less memory",
    choices=("none", "slicing", "tiling"),
    default="none",
    lossy=frozenset({"tiling"}),
    source="https://huggingface.co/docs/diffusers/optimization/memory",
    refuses=refuses,
    apply=apply,
)
