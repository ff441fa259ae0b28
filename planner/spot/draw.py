"""From images to a set of blind pairs: order and sides by chance, and files that differ in their pixels alone."""

from __future__ import annotations

import io
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError
from ...store.blind import Kind, Screen, new_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

    from PIL.Image import Image

PAIRS = 40
IDENTICAL = 2
DAMAGED = 2


CONTROLS = IDENTICAL + DAMAGED
"""How many images of the baseline a set needs beside the pairs'. None is shown twice: people remember images."""


@dataclass(frozen=True)
class Shot:
    """The images of one prompt and seed: the baseline's, and that of the recipe that is to be spotted (or None)."""

    prompt: str
    baseline: Path
    other: Path | None = None


def draw_set(
    pairs: Sequence[Shot], controls: Sequence[Shot], chance: Random | None = None
) -> tuple[tuple[Screen, ...], dict[str, bytes]]:
    """Return the screens of a set, in the order in which they are shown, and their images by token.

    controls: of the first two, both images are the baseline's; of the others, one of them is grossly damaged.
    chance: decides on order and sides; the system's own source of it unless a test needs the same twice.

    Raises UsageError where images are not of one size.
    """
    chance = chance or secrets.SystemRandom()
    shown: list[tuple[Kind, Shot, bytes]] = [
        *(("pair", shot, plain(shot.other)) for shot in pairs if shot.other),
        *(("identical", shot, plain(shot.baseline)) for shot in controls[:IDENTICAL]),
        *(("damaged", shot, damaged(shot.baseline)) for shot in controls[IDENTICAL:]),
    ]
    images: dict[str, bytes] = {}
    screens = [_screen(kind, shot, other, images, chance) for kind, shot, other in shown]
    if len({len(content) for content in images.values()}) != 1:
        msg = "The images of the two recipes are not of one size, which would give them away."
        raise UsageError(msg)
    chance.shuffle(screens)
    return tuple(screens), images


def _screen(kind: Kind, shot: Shot, content: bytes, images: dict[str, bytes], chance: Random) -> Screen:
    ours, theirs = new_name(), new_name()
    images |= {ours: plain(shot.baseline), theirs: content}
    left, right = (ours, theirs) if chance.random() < 0.5 else (theirs, ours)
    return Screen(kind=kind, prompt=shot.prompt, left=left, right=right, other="" if kind == "identical" else theirs)


def plain(file: Path) -> bytes:
    """Return an image as a PNG that has its pixels and nothing else.

    It is not compressed, so that images of one size are files of one size: how well an image can be compressed says how
    smooth it is, and what was quantized often is not.
    """
    from PIL import Image

    with Image.open(file) as opened:
        return _encoded(opened)


def damaged(file: Path) -> bytes:
    """Return an image whose damage nobody can miss who looks: an eighth of its pixels, in four shades."""
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        image = opened.convert("RGB")
    coarse = image.resize((max(1, image.width // 8), max(1, image.height // 8)), Image.Resampling.BOX)
    return _encoded(ImageOps.posterize(coarse, 2).resize(image.size, Image.Resampling.NEAREST))


def _encoded(image: Image) -> bytes:
    from PIL.Image import new

    bare = new("RGB", image.size)
    bare.paste(image.convert("RGB"))  # a new image has no text, no profile and no date
    file = io.BytesIO()
    bare.save(file, "PNG", compress_level=0)
    return file.getvalue()
