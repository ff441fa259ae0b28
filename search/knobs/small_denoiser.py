"""Small denoiser: a distilled one with fewer blocks, where the user allows the model to be changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice


def refuses(choice: Choice, setting: Setting) -> str | None:
    """It must be allowed and there, and be of the denoiser's own class, so that all that is known of it holds."""
    del choice
    found, denoiser = setting.added.small_denoiser, setting.card.denoiser
    if found and found.class_name != denoiser.class_name:
        return f"the denoiser is a {denoiser.class_name}, and the one that was given a {found.class_name}"
    return setting.added.lacks("small_denoiser")


def prepares(choices: Choices, bench: Bench) -> Bench:
    """Put it on the card."""
    del choices
    found = bench.added.small_denoiser
    return replace(bench, card=bench.card.with_component(found)) if found else bench


SMALL_DENOISER = Knob(
    name="small_denoiser",
    says="a distilled denoiser, such as SSD-1B's, in the place of the model's; only with --allow distilled",
    choices=(False, True),
    default=False,
    lossy=frozenset({True}),
    source="arXiv:2401.02677 (SSD-1B); arXiv:2305.15798 (BK-SDM)",
    refuses=refuses,
    prepares=prepares,
)
