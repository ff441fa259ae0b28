"""A safety checker looks at every image of a trial, as it does in the app, and what it says is left aside.

It takes time and memory, which a plan must know of, so it runs. But it makes an image black that it takes offence at,
of a harmless prompt too now and then, and a black image says nothing about the recipe that made it.
docs/adr/0011-the-safety-checker-runs-and-is-not-heard.md
"""

from __future__ import annotations

from copy import copy
from typing import Any


def do_not_hear_safety_checker(pipe: Any) -> None:
    """Let images pass the pipeline's safety checker as they are, where it has one; it still computes.

    Source: diffusers 0.42, `StableDiffusionSafetyChecker.forward`, which overwrites images in place, and that of
    DeepFloyd's, which has one more list of verdicts.
    """
    checker = getattr(pipe, "safety_checker", None)
    if checker is None:
        return
    look = checker.forward  # that of an offload's hook, where it has one

    def forward(clip_input: Any, images: Any) -> tuple[Any, ...]:
        looked_at = images.clone() if hasattr(images, "clone") else copy(images)
        verdicts = look(clip_input=clip_input, images=looked_at)[1:]
        return images, *([False] * len(images) for _ in verdicts)

    checker.forward = forward
