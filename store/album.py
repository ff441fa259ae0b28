"""The images that are kept of a run, so that people can look: a few, each file under the digest of its content."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from ..value import Value
from .places import data_dir, make_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ALBUMS_KEPT = 20
"""Of so many runs, the newest, images are kept: they are for looking at, and no evidence of anything."""
MOST_BYTES = 64 * 2**20
"""What the images of one run may take. Those that are named first are kept."""

DIGEST = re.compile(r"[0-9a-f]{64}")


class Picture(Value):
    """An image of a recipe, by its key; `index` is the place of its prompt in the task, `digest` names the file."""

    recipe: str
    index: int = Field(ge=0)
    prompt: str
    seed: int
    digest: str = Field(pattern=DIGEST.pattern)


class Album(Value):
    """The images of a run. Those with one index have the same prompt, seed and initial noise."""

    schema_version: int = 1
    run: str = Field(pattern=r"^[0-9a-f-]{36}$")
    pictures: tuple[Picture, ...] = ()

    def of(self, recipe: str) -> dict[int, Picture]:
        """Return the images of a recipe by their index."""
        return {picture.index: picture for picture in self.pictures if picture.recipe == recipe}


def digest_of(content: bytes) -> str:
    """Return the name under which an image is kept."""
    return hashlib.sha256(content).hexdigest()


def keep_album(run: str, pictures: Iterable[tuple[Picture, bytes]], most_bytes: int = MOST_BYTES) -> Album:
    """Keep images of a run beside those that it has, and forget those of old runs.

    pictures: the most telling first; of a recipe and an index that are known already, the newer takes its place.
    most_bytes: what all of the run may take then.

    Raises StoreError if the folder cannot be written to.
    """
    known = {(picture.recipe, picture.index): picture for picture in album_of(run).pictures}
    taken = sum(file.stat().st_size for picture in known.values() if (file := picture_file(picture.digest)))
    folder = _folder(make=True)
    for picture, content in pictures:
        if known.get((picture.recipe, picture.index)) == picture and picture_file(picture.digest):
            continue
        if taken + len(content) > most_bytes:
            break
        taken += len(content)
        write_whole(folder / f"{picture.digest}.png", content)
        known[picture.recipe, picture.index] = picture
    album = Album(run=run, pictures=tuple(known.values()))
    write_whole(folder / f"{run}.json", album.model_dump_json().encode())
    _forget(folder)
    return album


def album_of(run: str) -> Album:
    """Return the images of a run; none where nothing was kept, or what was kept cannot be read."""
    with suppress(OSError, ValidationError):
        return Album.model_validate_json((_folder() / f"{run}.json").read_bytes())
    return Album(run=run)


def picture_file(digest: str) -> Path | None:
    """Return the PNG file of an image, None where it is not there (any more)."""
    file = _folder() / f"{digest}.png"
    return file if DIGEST.fullmatch(digest) and file.is_file() else None


def _folder(*, make: bool = False) -> Path:
    folder = data_dir(make=make) / "images"
    if make:
        make_folder(folder)
    return folder


def _forget(folder: Path) -> None:
    """Remove the albums of old runs, and the images that no album has."""
    albums = sorted(folder.glob("*.json"))  # a run's name begins with the time when it was begun
    for old in albums[:-ALBUMS_KEPT]:
        old.unlink(missing_ok=True)
    wanted: set[str] = set()
    for file in albums[-ALBUMS_KEPT:]:
        with suppress(OSError, ValueError, KeyError):
            wanted |= {picture["digest"] for picture in json.loads(file.read_bytes())["pictures"]}
    for file in folder.glob("*.png"):
        if file.stem not in wanted:
            file.unlink(missing_ok=True)
