"""LoRA: how the adapters that the user named are joined to the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..adapters import FUSED, HOTSWAP
from .knob import Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice


def refuses(choice: Choice, setting: Setting) -> str | None:
    """There must be adapters; swapping is for one, and not for one that a text encoder shares."""
    adapters = setting.added.adapters
    if not adapters:
        return "no adapter was named: --lora PATH"
    if choice == HOTSWAP and len(adapters) > 1:
        return f"adapters are swapped one for one, and {len(adapters)} were named"
    if choice == HOTSWAP and adapters[0].text:
        return "diffusers swaps no adapters of text encoders (0.42, loaders/lora_base.py)"
    return setting.lacks("peft", "lora")


LORA = Knob(
    name="lora",
    says="the user's adapters beside the weights, fused into them, or padded so that another can be swapped in",
    choices=("attached", FUSED, HOTSWAP),
    default="attached",
    source="https://huggingface.co/docs/diffusers/using-diffusers/loading_adapters; diffusers, loaders/lora_base.py",
    refuses=refuses,
)
"""Adapters are loaded with the weights: `search/adapters.py` does it, before any knob is turned."""
