"""Images for a report: small enough to be sent in it, beside the baseline's, and what differs between the two."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...store.album import picture_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

    from ...store.album import Album, Picture

MOST_PIXELS = 512
"""On a side. Smaller images are shown as they are, without loss."""
AMPLIFIED = 4
MOST_BYTES = 5 * 2**20
"""Of a report, so that with all else it can be sent by mail."""


@dataclass(frozen=True)
class Pair:
    """The images of one prompt and seed as data URIs: the baseline's, a recipe's, and their difference, amplified."""

    prompt: str
    seed: int
    baseline: str
    other: str
    difference: str
    mean_difference: float
    """Of a pixel's value, as a share of its range."""


def pairs_of(album: Album, baseline: str, recipe: str, most_bytes: int = MOST_BYTES) -> list[Pair]:
    """Return the images of a recipe beside the baseline's, as many as there is room for."""
    pairs: list[Pair] = []
    taken = 0
    for pair in _pairs(album.of(baseline), album.of(recipe)):
        taken += len(pair.baseline) + len(pair.other) + len(pair.difference)
        if taken > most_bytes:
            break
        pairs.append(pair)
    return pairs


def _pairs(first: dict[int, Picture], second: dict[int, Picture]) -> Iterator[Pair]:
    for index in sorted(first.keys() & second.keys()):
        one, other = _image(first[index]), _image(second[index])
        if one and other and one.size == other.size:
            difference, mean = _difference(one, other)
            yield Pair(first[index].prompt, first[index].seed, _uri(one), _uri(other), _uri(difference), mean)


def _image(picture: Picture) -> Image | None:
    from PIL import Image

    file = picture_file(picture.digest)
    return Image.open(file).convert("RGB") if file else None


def _difference(one: Image, other: Image) -> tuple[Image, float]:
    """Return black where the images are alike, the lighter the more they differ, and by how much they do on average."""
    from PIL import ImageChops, ImageStat

    difference = ImageChops.difference(one, other)
    mean = sum(ImageStat.Stat(difference).mean) / 3 / 255
    return difference.point(lambda value: min(255, AMPLIFIED * value)), mean


def _uri(image: Image) -> str:
    """Return an image as a data URI: PNG where it is small, else no larger than it is looked at."""
    file = io.BytesIO()
    if max(image.size) <= MOST_PIXELS // 2:
        image.save(file, "PNG", optimize=True)
        kind = "png"
    else:
        smaller = image.copy()
        smaller.thumbnail((MOST_PIXELS, MOST_PIXELS))
        smaller.save(file, "WEBP", quality=88)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
