"""Token merging: fewer tokens in the UNet's self-attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knob import Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice
    from .knob import Bench


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Say no to what is not a UNet: tomesd would patch nothing there, silently."""
    if choice == 0.0:
        return None
    if not setting.card.has("unet"):
        return f"token merging patches a UNet's transformer blocks, and {setting.card.pipeline_class} has no UNet"
    return setting.lacks("tomesd", "tome")


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Merge that share of the tokens before self-attention and unmerge them after.

    Without randomness: the merged tokens are then the same in each call, and can be traced. Merging is for the largest
    attention there is, which in SDXL is not at the full size of the latent, where tomesd alone would look for it.
    Source: Bolya & Hoffman 2023, arXiv:2303.17604; tomesd 0.1.3, `patch.py`.
    """
    del bench
    import tomesd

    ratio, first = float(choices["tome_ratio"]), _first_attention(pipe.unet)
    tomesd.apply_patch(pipe, ratio=ratio, max_downsample=2**first, use_rand=False)


def _first_attention(unet: Any) -> int:
    """Return how many times the latent is halved before the first block that has attention."""
    has_attention = ["Attn" in kind for kind in unet.config.down_block_types]
    return has_attention.index(True) if any(has_attention) else 0


TOME_RATIO = Knob(
    name="tome_ratio",
    says="share of the tokens that are merged before the UNet's self-attention",
    choices=(0.0, 0.25, 0.4, 0.5),
    default=0.0,
    lossy=frozenset({0.25, 0.4, 0.5}),
    source="arXiv:2303.17604",
    refuses=refuses,
    apply=apply,
)
