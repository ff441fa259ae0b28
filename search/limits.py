"""What a pipeline can be called with, as far as its configurations and its source tell: sides and frames go in steps.

A side is some number of tokens of the denoiser, each of which stands for a square of pixels; the frames after the first
are compressed by the VAE. Some pipelines refuse anything else, and others round it in silence, which would make a plan
for another size than was asked. Where nothing tells, nothing is refused here, and the unmodified pipeline's own trial
says it: of pipelines without a VAE, and of whatever else a pipeline checks in its call (a largest size, say).

Source: diffusers 0.42, `check_inputs` and `vae_scale_factor` of its pipelines.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, UsageError
from ..probes.classes import parameters, says
from ..probes.model import config_of

if TYPE_CHECKING:
    from ..probes.model import ModelCard
    from .workload import Workload

CHECKED = (8, 16, 32, 64)
"""Pixels that the sides are divided by in the checks of pipelines, where these name a number."""


def nearest(card: ModelCard, workload: Workload) -> Workload:
    """Return the workload with the sides and frames next to it that the model can be called with."""
    side, frame = _side_step(card), _frame_step(card)
    return workload.model_copy(
        update={
            "width": max(side, round(workload.width / side) * side),
            "height": max(side, round(workload.height / side) * side),
            "frames": round((workload.frames - 1) / frame) * frame + 1 if frame else 1,
        }
    )


def refuse_impossible(card: ModelCard, workload: Workload) -> None:
    """Raise UsageError, which names the nearest that can be, where the model cannot be called with the workload."""
    near, name = nearest(card, workload), card.pipeline_class
    if (near.width, near.height) != (workload.width, workload.height):
        msg = (
            f"{name} computes sides in steps of {_side_step(card)} pixels, and {workload.width}x{workload.height} was "
            f"asked: the nearest is {near.width}x{near.height}."
        )
        raise UsageError(msg)
    if near.frames != workload.frames:
        step = _frame_step(card)
        how = f"computes 1 frame and then {step} at a time" if step else "makes images, and no frames"
        msg = f"{name} {how}, and {workload.frames} frames were asked: the nearest is {near.frames}."
        raise UsageError(msg)


def _side_step(card: ModelCard) -> int:
    """Return the pixels by which sides can be divided; 1 where nothing tells."""
    vae, denoiser = _config(card, "vae"), _config(card, "transformer")
    tokens = _pixels_a_latent(vae) * _latents_a_token(vae, denoiser) if vae else 1
    checked = (pixels for pixels in CHECKED if says(card.pipeline_class, rf"height % {pixels} != 0"))
    return math.lcm(tokens, *checked)


def _frame_step(card: ModelCard) -> int:
    """Return how many frames go with each after the first; 0 for a pipeline of images."""
    takes = parameters(card.pipeline_class)
    return 0 if takes and "num_frames" not in takes else _frames_a_latent(_config(card, "vae"))


def _pixels_a_latent(vae: dict[str, Any]) -> int:
    """Return the side of what a VAE makes one number of, as its configuration says; 1 where that does not tell."""
    told = _count(vae.get("spatial_compression_ratio") or vae.get("scale_factor_spatial"))
    if told:
        return told
    if scaled := _list(vae.get("spatio_temporal_scaling")):
        return (_count(vae.get("patch_size")) or 1) << sum(map(bool, scaled))
    if halves := _list(vae.get("temperal_downsample")):
        return 1 << len(halves)
    blocks = _list(vae.get("block_out_channels") or vae.get("encoder_block_out_channels"))
    return 1 << max(0, len(blocks) - 1)


def _frames_a_latent(vae: dict[str, Any]) -> int:
    """Return how many frames a VAE makes one of, as its configuration says; 1 where that does not tell."""
    told = _count(vae.get("temporal_compression_ratio") or vae.get("scale_factor_temporal"))
    if told:
        return told
    if scaled := _list(vae.get("spatio_temporal_scaling")):
        return (_count(vae.get("patch_size_t")) or 1) << sum(map(bool, scaled))
    return math.prod(_count(times) or 1 for times in _list(vae.get("temporal_expansions")))


def _latents_a_token(vae: dict[str, Any], transformer: dict[str, Any]) -> int:
    """Return the side of the square of latents that a transformer takes as one; the pipeline may pack them before."""
    patch = transformer.get("patch_size") or transformer.get("all_patch_size")
    channels = _count(vae.get("latent_channels") or vae.get("z_dim"))
    packed = channels and transformer.get("in_channels") == 4 * channels
    return max(_count(patch[-1] if isinstance(patch, list) and patch else patch), 2 if packed else 1)


def _count(value: Any) -> int:
    """Return a number that a configuration says, 0 where it is none."""
    return value if type(value) is int and 0 < value < 2**16 else 0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) and len(value) < 16 else []


def _config(card: ModelCard, component: str) -> dict[str, Any]:
    """Return a component's configuration, empty where there is none."""
    with suppress(ModelError):
        return config_of(card, component)
    return {}
