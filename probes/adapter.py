"""What a LoRA adapter is, read from the header of its file: nothing is imported, and no pickle is opened."""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from pathlib import Path

from pydantic import Field

from ..errors import ModelError, UsageError
from ..value import Value
from .model import UNSAFE_SUFFIXES, readable, safetensors_shapes

DOWN = ("lora_A", "lora_down", "lora.down")
"""What the first of an adapter's two matrices is called, whose rows are its rank: by peft, kohya and diffusers."""

TEXT_ENCODER = ("text_encoder", "lora_te")
"""What the names begin with that are for a text encoder: diffusers', kohya's."""


class Adapter(Value):
    """A LoRA that is added to the model: its file, a digest of all that is in it, and how strongly it is added.

    `rank` is the largest of its matrices; `text` says whether a text encoder gets some of it.
    """

    file: str
    digest: str
    scale: float = Field(default=1.0)
    rank: int
    text: bool

    @property
    def key(self) -> str:
        """What names it in a scope: the same content at the same scale, wherever it lies."""
        return f"{self.digest}:{self.scale!r}"

    def __str__(self) -> str:
        """Return what `read_adapter` makes it from again."""
        return f"{self.file}:{self.scale!r}"


def read_adapter(text: str) -> Adapter:
    """Return the adapter that `PATH` or `PATH:SCALE` means: a safetensors file, or a folder that holds just one.

    Raises UsageError for a scale that is none, ModelError where there is no such file, or it is no LoRA.
    """
    path, scale = _parts(text)
    with readable(path):
        file = _file(path)
        shapes = safetensors_shapes(file)
        ranks = [shape[0] for name, shape in shapes.items() if any(part in name for part in DOWN) and shape]
        if not ranks:
            msg = f"{file} holds no LoRA: none of its {len(shapes)} tensors is called lora_A, lora_down or lora.down."
            raise ModelError(msg)
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    return Adapter(
        file=str(file.resolve()),
        digest=digest,
        scale=scale,
        rank=max(ranks),
        text=any(name.startswith(TEXT_ENCODER) for name in shapes),
    )


def _parts(text: str) -> tuple[Path, float]:
    """Return path and scale; a colon belongs to the path if such a file is there."""
    path, colon, said = text.rpartition(":")
    if not colon or _is_there(text):
        return _path(text), 1.0
    try:
        scale = float(said)
    except ValueError:
        if _is_there(path):
            msg = f"The scale of an adapter is a number, as in {path}:0.8; {said!r} was given."
            raise UsageError(msg) from None
        return _path(text), 1.0
    if not math.isfinite(scale) or scale == 0:
        msg = f"The scale of an adapter is a finite number other than 0; {said} was given for {path}."
        raise UsageError(msg)
    return _path(path), scale


def _path(text: str) -> Path:
    if "\0" not in text:
        with suppress(RuntimeError):  # ~ of nobody
            return Path(text).expanduser()
    msg = f"{text!r} is no path to an adapter."
    raise UsageError(msg)


def _is_there(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long for a path, ~ of nobody, or no path at all
        return False


def _file(path: Path) -> Path:
    """Return the one safetensors file that a path means."""
    if not path.exists():
        msg = f"There is no adapter at {path}: a .safetensors file, or a folder that holds one, is needed."
        raise ModelError(msg)
    if path.is_file():
        if path.suffix != ".safetensors":
            why = "is a pickle, which can run code" if path.suffix in UNSAFE_SUFFIXES else "is no .safetensors file"
            msg = f"The adapter {path} {why}: convert it to safetensors."
            raise ModelError(msg)
        return path
    files = sorted(path.glob("*.safetensors"))
    if len(files) == 1:
        return files[0]
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in UNSAFE_SUFFIXES)
    if pickles and not files:
        msg = f"The adapter in {path} is a pickle ({pickles[0]}), which can run code: convert it to safetensors."
    else:
        msg = f"{path} holds {len(files)} .safetensors files, and one adapter is meant: name the file."
    raise ModelError(msg)
