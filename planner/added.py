"""From what a user names to what is added to the model: adapters, and distilled variants where they are allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, TechniqueMissingError, UsageError
from ..probes.adapter import read_adapter
from ..probes.model import config_of, read_component
from ..search.additions import VARIANTS, Additions

if TYPE_CHECKING:
    from ..probes.model import Component, ModelCard
    from ..probes.software import Software


def additions_of(
    card: ModelCard,
    software: Software,
    lora: Sequence[str] = (),
    distilled: Mapping[str, str] | None = None,
    *,
    allowed: bool = False,
) -> Additions:
    """Return what is added to the model of a card.

    lora: each `PATH` or `PATH:SCALE`. distilled: variants by their names in `VARIANTS`: the folder of a component, or
    for lcm_lora an adapter. allowed: whether a plan may use them.

    Raises UsageError for what cannot be meant, ModelError for files that are not what they should be, and
    TechniqueMissingError where adapters are named and peft is not installed.
    """
    distilled = distilled or {}
    if distilled and not allowed:
        msg = f"{' and '.join(distilled)} would change the model itself: say --allow distilled too if that is meant."
        raise UsageError(msg)
    unknown = [name for name in distilled if name not in VARIANTS]
    if unknown:
        msg = f"There is no distilled variant {unknown[0]}: there are {', '.join(VARIANTS)}."
        raise UsageError(msg)
    if (lora or "lcm_lora" in distilled) and "peft" not in software.versions:
        msg = "Adapters need peft, which is not installed: pip install 'autotune-diffusers[lora]'."
        raise TechniqueMissingError(msg)
    adapters = tuple(map(read_adapter, lora))
    twice = [one.file for number, one in enumerate(adapters) if one.digest in {o.digest for o in adapters[:number]}]
    if twice:
        msg = f"The adapter {twice[0]} is named twice: once is meant, with the scale that it shall have."
        raise UsageError(msg)
    return Additions(
        adapters=adapters,
        distilled_allowed=allowed,
        tiny_vae=_tiny_vae(card, distilled["tiny_vae"]) if "tiny_vae" in distilled else None,
        small_denoiser=_small_denoiser(card, distilled["small_denoiser"]) if "small_denoiser" in distilled else None,
        lcm_lora=read_adapter(distilled["lcm_lora"]) if "lcm_lora" in distilled else None,
    )


def named_variants(texts: Sequence[str]) -> dict[str, str]:
    """Return the paths by the names of `NAME=PATH`. Raises UsageError."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not name or not path:
            msg = f"A distilled variant is given as NAME=PATH, such as tiny_vae=./taesd; {text!r} was given."
            raise UsageError(msg)
        if name in found:
            msg = f"The distilled variant {name} is given twice, and only one can take the place."
            raise UsageError(msg)
        found[name] = path
    return found


def _tiny_vae(card: ModelCard, path: str) -> Component:
    """Return the tiny autoencoder of a folder: for the latents that the model's VAE has, or it decodes nothing."""
    component, config = read_component(Path(path).expanduser(), "vae")
    if component.class_name != "AutoencoderTiny":
        msg = f"{path} holds a {component.class_name}, and a tiny VAE is an AutoencoderTiny."
        raise ModelError(msg)
    if not card.has("vae"):
        return component
    whole = config_of(card, "vae")
    mine = (config.get("latent_channels", 4), len(config.get("encoder_block_out_channels", range(4))))
    theirs = (whole.get("latent_channels", 4), len(whole.get("block_out_channels", range(4))))
    if mine != theirs:
        msg = f"{path} is for {_latents(mine)}, and the model has {_latents(theirs)}: it is the tiny VAE of another."
        raise ModelError(msg)
    return component


def _latents(form: tuple[Any, int]) -> str:
    channels, blocks = form
    return f"latents of {channels} channels at 1/{2 ** (blocks - 1)} of the image's size"


def _small_denoiser(card: ModelCard, path: str) -> Component:
    return read_component(Path(path).expanduser(), card.denoiser.name)[0]
