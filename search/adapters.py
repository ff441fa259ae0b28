"""Adapters into a pipeline: the one place for trials, for the app, and for what is converted.

Source: diffusers 0.42, `loaders/lora_base.py`, `loaders/peft.py`; https://huggingface.co/docs/diffusers/using-diffusers/loading_adapters
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..probes.adapter import Adapter
    from .knobs import Bench, Choices

HOTSWAP_RANK = 64
"""The rank that adapters are padded to where others shall take their places: few have more."""

FUSED, HOTSWAP = "fused", "hotswap"


def add_adapters(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Load the user's adapters as the knob `lora` says; before them that of few steps, fused, if it is chosen.

    Raises UnfitError where the pipeline takes no adapters, or one of them is for another model.
    """
    few_steps, adapters = bench.added.lcm_lora, sorted(bench.added.adapters, key=lambda adapter: adapter.key)
    if choices["lcm_lora"] != "none" and few_steps:
        _attach(pipe, [few_steps], "lcm")
        _fuse(pipe)
    if not adapters:
        return
    if choices["lora"] == HOTSWAP:
        pipe.enable_lora_hotswap(target_rank=max(HOTSWAP_RANK, *(adapter.rank for adapter in adapters)))
    names = _attach(pipe, adapters, "lora")
    if choices["lora"] == HOTSWAP:
        _scale_in_place(getattr(pipe, bench.card.denoiser.name), adapters[0].scale)
    else:
        pipe.set_adapters(names, [adapter.scale for adapter in adapters])
    if choices["lora"] == FUSED:
        _fuse(pipe)


def adapters_in(choices: Choices, bench: Bench) -> list[str]:
    """Return the keys of the adapters that a pipeline of these choices has, for the names of what is made of it."""
    few_steps = bench.added.lcm_lora if choices["lcm_lora"] != "none" else None
    return [*([few_steps.key] if few_steps else []), *bench.added.adapter_keys]


def _attach(pipe: Any, adapters: Sequence[Adapter], prefix: str) -> list[str]:
    """Load adapters, and return the names that they have in the pipeline: `lora_0` and so on."""
    if not hasattr(pipe, "load_lora_weights"):
        msg = f"A {type(pipe).__name__} takes no LoRA adapters: diffusers has no loader for them."
        raise UnfitError(msg)
    names = []
    for number, adapter in enumerate(adapters):
        name = f"{prefix}_{number}"
        pipe.load_lora_weights(adapter.file, adapter_name=name, use_safetensors=True, local_files_only=True)
        if not any(name in found for found in pipe.get_list_adapters().values()):
            msg = f"The adapter {adapter.file} is for another model: it has nothing for a part of this one."
            raise UnfitError(msg)
        names.append(name)
    return names


def _fuse(pipe: Any) -> None:
    """Add what is attached to the weights themselves, and forget that it was ever attached."""
    pipe.fuse_lora(components=list(pipe.get_list_adapters()))
    pipe.unload_lora_weights()


def _scale_in_place(denoiser: Any, scale: float) -> None:
    """Scale an adapter that is prepared for swapping, whose scale is a tensor: a number would be compiled in.

    Source: peft 0.21, `utils/hotswap.py` (convert_scalars_to_tensor).
    """
    from diffusers.utils.peft_utils import scale_lora_layers

    if scale != 1:
        scale_lora_layers(denoiser, scale)
