"""Scenes that can be said and drawn: the training data of `shapes`, without a single downloaded image.

A scene has one thing (with a size, perhaps in a corner) or two things (one beside or above the other),
on a plain background. `caption` says it, `draw` draws it with some variety (place, size, turn, tint,
light), and `distractors` are the captions that are wrong in exactly one attribute.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

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
RELATIONS = {"left of": ((0.27, 0.5), (0.73, 0.5)), "above": ((0.5, 0.27), (0.5, 0.73))}

HELD_OUT = 0.1  # share of the captions that training never sees


@dataclass(frozen=True)
class Thing:
    """One object of a scene; `size` is empty in scenes of two."""

    colour: str
    shape: str
    size: str = ""

    def phrase(self) -> str:
        """Return the words for it, with the right article."""
        words = " ".join(filter(None, (self.size, self.colour, self.shape)))
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


@dataclass(frozen=True)
class Scene:
    """What is to be seen: `place` is a corner (one thing), a relation (two things) or empty (middle)."""

    things: tuple[Thing, ...]
    background: str
    place: str = ""

    @property
    def caption(self) -> str:
        """The scene in words; this is the prompt that makes it."""
        first, *others = (thing.phrase() for thing in self.things)
        where = f" {self.place} {others[0]}" if others else f" in the {self.place}" if self.place else ""
        article = "an" if self.background[0] in "aeiou" else "a"
        return f"{first}{where} on {article} {self.background} background"

    @property
    def held_out(self) -> bool:
        """Whether training must not see this scene."""
        return held_out(self.caption)


def held_out(caption: str) -> bool:
    """Return whether training must not see `caption`: decided by a hash, the same on every machine."""
    digest = hashlib.sha256(caption.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT


def random_scene(rng: Random) -> Scene:
    """Return any scene: half of them plain, a quarter in a corner, a quarter with two things."""
    kind = rng.choice(("plain", "plain", "corner", "pair"))
    background = rng.choice(tuple(BACKGROUNDS))
    colours = [colour for colour in COLOURS if colour != background]
    if kind == "pair":
        first = Thing(rng.choice(colours), rng.choice(SHAPES))
        second = Thing(rng.choice(colours), rng.choice(SHAPES))
        while second == first:
            second = Thing(rng.choice(colours), rng.choice(SHAPES))
        return Scene((first, second), background, rng.choice(tuple(RELATIONS)))
    if kind == "corner":
        return Scene((Thing(rng.choice(colours), rng.choice(SHAPES), "small"),), background, rng.choice(tuple(CORNERS)))
    return Scene((Thing(rng.choice(colours), rng.choice(SHAPES), rng.choice(tuple(SIZES))),), background)


def plain_scenes() -> Iterator[Scene]:
    """Yield every scene of one thing in the middle, in a fixed order."""
    for size, colour, shape, background in product(SIZES, COLOURS, SHAPES, BACKGROUNDS):
        if colour != background:
            yield Scene((Thing(colour, shape, size),), background)


def distractors(scene: Scene) -> list[str]:
    """Return every caption that differs from the scene's own in exactly one attribute."""
    others = [replace(scene, background=b) for b in BACKGROUNDS if b not in {t.colour for t in scene.things}]
    places = RELATIONS if len(scene.things) == 2 else CORNERS if scene.place else ()
    others += [replace(scene, place=place) for place in places]
    for index, thing in enumerate(scene.things):
        changed = [replace(thing, colour=c) for c in COLOURS if c != scene.background]
        changed += [replace(thing, shape=s) for s in SHAPES]
        if thing.size and not scene.place:
            changed += [replace(thing, size=s) for s in SIZES]
        for other in changed:
            things = (*scene.things[:index], other, *scene.things[index + 1 :])
            others.append(replace(scene, things=things))
    captions = dict.fromkeys(other.caption for other in others if len(set(other.things)) == len(other.things))
    captions.pop(scene.caption, None)
    return list(captions)


def draw(scene: Scene, rng: Random, pixels: int = PIXELS) -> np.ndarray:
    """Return the scene as an image, uint8 of shape (pixels, pixels, 3); `rng` gives the variety."""
    image = _background(BACKGROUNDS[scene.background], rng, pixels)
    for thing, centre in zip(scene.things, _centres(scene), strict=True):
        x, y = (value + rng.uniform(-0.02, 0.02) for value in centre)
        radius = SIZES[thing.size] if thing.size else 0.17
        mask = _mask(thing.shape, x, y, radius * rng.uniform(0.95, 1.05), rng.uniform(-0.08, 0.08), pixels)
        colour = np.array(_tinted(COLOURS[thing.colour], rng), dtype=np.float32)
        image = image * (1 - mask) + colour * mask
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _centres(scene: Scene) -> tuple[tuple[float, float], ...]:
    if len(scene.things) == 2:
        return RELATIONS[scene.place]
    return (CORNERS.get(scene.place, (0.5, 0.5)),)


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
