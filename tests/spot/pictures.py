"""Images of a baseline and of a recipe, drawn: the recipe's are blurred a little, so that they compress far better."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageFilter, PngImagePlugin

from autotune.planner.spot.draw import CONTROLS, Shot, draw_set
from autotune.store.blind import BlindSet, keep_set, new_name

RECIPE = "quantization=bnb_nf4"


def shots(folder: Path, pairs: int = 6, size: int = 24) -> list[Shot]:
    """Return shots with files of their own; the recipe's files say in their metadata what they are."""
    draw = random.Random(3)
    made = []
    for place in range(pairs + CONTROLS):
        noise = Image.frombytes("RGB", (size, size), draw.randbytes(3 * size * size))
        ours, theirs = folder / f"{place}-baseline.png", folder / f"{place}-quantized.png"
        noise.save(ours)
        about = PngImagePlugin.PngInfo()
        about.add_text("recipe", "quantization=bnb_nf4")
        noise.filter(ImageFilter.GaussianBlur(2)).save(theirs, pnginfo=about)
        made.append(Shot(f"prompt {place}", ours, theirs if place < pairs else None))
    return made


def kept(folder: Path, pairs: int = 6, *, scope: str = "scope", plan: str = "", recipe: str = RECIPE) -> BlindSet:
    """Keep a set of drawn images."""
    taken = shots(folder, pairs)
    screens, images = draw_set(taken[:pairs], taken[pairs:])
    blind = BlindSet(
        id=new_name(),
        model="shapes",
        scope=scope,
        plan=plan,
        recipe=recipe,
        baseline="unmodified",
        made_at="2026-11-28T05:00:00+00:00",
        screens=screens,
    )
    keep_set(blind, images)
    return blind
