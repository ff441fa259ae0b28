"""Sets of blind pairs: what people are shown, what only the daemon knows of it, and what they answered.

A set is a folder of its own: `set.json`, `answers.json`, and the images under names that say nothing. The images go
when the last answer is there; the answers stay.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from ..value import Value
from .places import data_dir, make_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = r"^[0-9a-f]{32}$"
Kind = Literal["pair", "identical", "damaged"]


class Screen(Value):
    """Two images beside each other, by their tokens. `other` is to be picked, empty where they are identical."""

    kind: Kind
    prompt: str
    left: str = Field(pattern=NAME)
    right: str = Field(pattern=NAME)
    other: str = ""


class BlindSet(Value):
    """What is shown of a recipe beside its baseline. `plan` is empty where the recipe was chosen by hand.

    `scope` is the key of the scope that both were made in.
    """

    schema_version: int = 1
    id: str = Field(pattern=NAME)
    model: str
    scope: str
    plan: str
    recipe: str
    baseline: str
    made_at: str
    screens: tuple[Screen, ...] = Field(min_length=1)


class Answers(Value):
    """The tokens that were picked, in the order of the screens."""

    picked: tuple[str, ...] = ()
    finished_at: str = ""


def new_name() -> str:
    """Return a name that says nothing and cannot be guessed."""
    return secrets.token_hex(16)


def keep_set(blind: BlindSet, images: Mapping[str, bytes]) -> None:
    """Keep a set and its images, by their tokens. Raises StoreError."""
    folder = _folder(blind.id)
    make_folder(folder)
    for token, content in sorted(images.items()):  # by tokens: the order of the files says nothing either
        write_whole(folder / f"{token}.png", content)
    write_whole(folder / "set.json", blind.model_dump_json().encode())


def read_set(name: str) -> BlindSet | None:
    """Return a set, None where there is none of that name or it cannot be read."""
    if not re.fullmatch(NAME, name):
        return None
    with suppress(OSError, ValidationError):
        return BlindSet.model_validate_json((_folder(name) / "set.json").read_bytes())
    return None


def answers_to(name: str) -> Answers:
    """Return what was answered so far."""
    with suppress(OSError, ValidationError):
        return Answers.model_validate_json((_folder(name) / "answers.json").read_bytes())
    return Answers()


def keep_answers(name: str, answers: Answers) -> None:
    """Keep what was answered so far; with the last answer, the images go. Raises StoreError."""
    write_whole(_folder(name) / "answers.json", answers.model_dump_json().encode())
    if answers.finished_at:
        for file in _folder(name).glob("*.png"):
            file.unlink(missing_ok=True)


def image_of(name: str, token: str) -> bytes | None:
    """Return the PNG of a token, None where there is none (any more)."""
    if re.fullmatch(NAME, name) and re.fullmatch(NAME, token):
        with suppress(OSError):
            return (_folder(name) / f"{token}.png").read_bytes()
    return None


def sets() -> list[BlindSet]:
    """Return all sets that can be read, the newest first."""
    names = (folder.name for folder in data_dir(make=False).glob("blind/*"))
    found = filter(None, map(read_set, names))
    return sorted(found, key=lambda each: each.made_at, reverse=True)


def _folder(name: str) -> Path:
    return data_dir(make=False) / "blind" / name
