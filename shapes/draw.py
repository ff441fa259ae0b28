"""Scenes that can be said and drawn: the training data of `shapes`, without a single downloaded image.

A scene is one thing of some size, colour and shape, in the middle or in a corner of a plain background. `caption`
says it, `draw` draws it with some variety (place, size, turn, tint, light), and `distractors` are the captions that
are wrong in exactly one attribute.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Iterator

PIXELS = 128

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 38, 38),
    "orange": (249, 145, 22),
    "yellow": (250, 222, 40),
    "green": (34, 160, 70),
    "blue": (37, 84, 225),
    "purple": (140, 50, 190),
    "white": (245, 245, 245),
    "black": (22, 22, 24),
}
BACKGROUNDS = {**COLOURS, "gray": (128, 130, 134)}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
SIZES = {"small": 0.17, "large": 0.33}  # radius as a share of the image's side
CORNERS = {
    "top left": (0.26, 0.26),
    "top right": (0.74, 0.26),
    "bottom left": (0.26, 0.74),
    "bottom right": (0.74, 0.74),
}

HELD_OUT = 0.1  # share of the captions that training never sees


@dataclass(frozen=True)
class Scene:
    """What is to be seen; an empty `corner` is the middle."""

    size: str
    colour: str
    shape: str
    background: str
    corner: str = ""

    @property
    def caption(self) -> str:
        """The scene in words; this is the prompt that makes it."""
        where = f" in the {self.corner}" if self.corner else ""
        article = "an" if self.background[0] in "aeiou" else "a"
        return f"a {self.size} {self.colour} {self.shape}{where} on {article} {self.background} background"

    @property
    def held_out(self) -> bool:
        """Whether training must not see this scene."""
        return held_out(self.caption)


def held_out(caption: str) -> bool:
    """Return whether training must not see `caption`: decided by a hash, the same on every machine."""
    digest = hashlib.sha256(caption.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT


def random_scene(rng: Random) -> Scene:
    """Return any scene: two thirds in the middle, a third, all small, in a corner."""
    background = rng.choice(tuple(BACKGROUNDS))
    colour = rng.choice([colour for colour in COLOURS if colour != background])
    corner = rng.choice(("", "", rng.choice(tuple(CORNERS))))
    size = "small" if corner else rng.choice(tuple(SIZES))
    return Scene(size, colour, rng.choice(SHAPES), background, corner)


def every_scene() -> Iterator[Scene]:
    """Yield every scene that `random_scene` can return, each once."""
    places = [(size, "") for size in SIZES] + [("small", corner) for corner in CORNERS]
    for colour, shape, background, (size, corner) in product(COLOURS, SHAPES, BACKGROUNDS, places):
        if colour != background:
            yield Scene(size, colour, shape, background, corner)


def held_out_scenes(count: int, seed: int = 0) -> list[Scene]:
    """Return scenes that training does not see, each once. Raises ValueError if there are not that many."""
    there = sum(scene.held_out for scene in every_scene())
    if count > there:
        msg = f"{count} scenes were asked for, and {there} are held out of training."
        raise ValueError(msg)
    rng, scenes = Random(seed), dict[str, Scene]()
    while len(scenes) < count:
        scene = random_scene(rng)
        if scene.held_out:
            scenes[scene.caption] = scene
    return list(scenes.values())


def distractors(scene: Scene) -> list[str]:
    """Return every caption that differs from the scene's own in exactly one attribute: at least 19."""
    others = [replace(scene, background=background) for background in BACKGROUNDS if background != scene.colour]
    others += [replace(scene, colour=colour) for colour in COLOURS if colour != scene.background]
    others += [replace(scene, shape=shape) for shape in SHAPES]
    if scene.corner:
        others += [replace(scene, corner=corner) for corner in CORNERS]
    else:
        others += [replace(scene, size=size) for size in SIZES]
    captions = dict.fromkeys(other.caption for other in others)
    captions.pop(scene.caption)
    return list(captions)


def draw(scene: Scene, rng: Random, pixels: int = PIXELS) -> np.ndarray:
    """Return the scene as an image, uint8 of shape (pixels, pixels, 3); `rng` gives the variety."""
    image = _background(BACKGROUNDS[scene.background], rng, pixels)
    x, y = (value + rng.uniform(-0.02, 0.02) for value in CORNERS.get(scene.corner, (0.5, 0.5)))
    radius = SIZES[scene.size] * rng.uniform(0.95, 1.05)
    mask = _mask(scene.shape, x, y, radius, rng.uniform(-0.08, 0.08), pixels)
    colour = np.array(_tinted(COLOURS[scene.colour], rng), dtype=np.float32)
    drawn: np.ndarray = np.clip(np.rint(image * (1 - mask) + colour * mask), 0, 255).astype(np.uint8)
    return drawn


def _tinted(colour: tuple[int, int, int], rng: Random) -> list[float]:
    return [min(255.0, max(0.0, channel + rng.uniform(-8, 8))) for channel in colour]


def _background(colour: tuple[int, int, int], rng: Random, pixels: int) -> np.ndarray:
    """Return a plain ground with a faint light from one side: float32, (pixels, pixels, 3)."""
    angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, 14)
    axis = np.linspace(-1, 1, pixels, dtype=np.float32)
    light = strength * (axis[None, :] * math.cos(angle) + axis[:, None] * math.sin(angle))
    ground: np.ndarray = np.array(_tinted(colour, rng), dtype=np.float32) + light[:, :, None]
    return ground


def _mask(  # noqa: PLR0913 - what a figure is made of
    shape: str, x: float, y: float, radius: float, turn: float, pixels: int
) -> np.ndarray:
    """Return how much of each pixel the shape covers: float32 in 0..1, (pixels, pixels, 1)."""
    fine = pixels * 4
    canvas = Image.new("L", (fine, fine), 0)
    pen = ImageDraw.Draw(canvas)
    if shape in {"circle", "ring"}:
        pen.ellipse(_box(x, y, radius, fine), fill=255)
        if shape == "ring":
            pen.ellipse(_box(x, y, radius * 0.55, fine), fill=0)
    else:
        points = [_turned(px, py, turn) for px, py in _OUTLINES[shape]]
        pen.polygon([((x + radius * px) * fine, (y + radius * py) * fine) for px, py in points], fill=255)
    covered: np.ndarray = np.asarray(canvas.reduce(4), dtype=np.float32) / 255
    return covered[:, :, None]


def _box(x: float, y: float, radius: float, fine: int) -> tuple[float, float, float, float]:
    return (x - radius) * fine, (y - radius) * fine, (x + radius) * fine, (y + radius) * fine


def _turned(x: float, y: float, angle: float) -> tuple[float, float]:
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def _star() -> tuple[tuple[float, float], ...]:
    radii = (1.1, 0.45)
    angles = (math.pi * (corner / 5 - 0.5) for corner in range(10))
    return tuple((radii[corner % 2] * math.cos(a), radii[corner % 2] * math.sin(a)) for corner, a in enumerate(angles))


def _cross(arm: float = 0.34) -> tuple[tuple[float, float], ...]:
    quarter = ((arm, -1.0), (arm, -arm), (1.0, -arm))
    turns = (0, 1, 2, 3)
    return tuple(_turned(px, py, turn * math.pi / 2) for turn in turns for px, py in quarter)


_OUTLINES: dict[str, tuple[tuple[float, float], ...]] = {
    "square": ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
    "triangle": ((0.0, -1.05), (1.0, 0.8), (-1.0, 0.8)),
    "star": _star(),
    "cross": _cross(),
}
