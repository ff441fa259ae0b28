"""The model that judges images: what names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError
from ..probes.model import revision_of

if TYPE_CHECKING:
    from pathlib import Path


def scorer_id(folder: Path) -> str:
    """Return what names a scorer in a scope: its folder's name, and a digest of its files.

    Raises UsageError where the folder holds no CLIP model.
    """
    if not (folder / "preprocessor_config.json").is_file() or not list(folder.glob("*.safetensors")):
        msg = f"{folder} holds no CLIP model: a config.json, safetensors and a preprocessor_config.json are needed."
        raise UsageError(msg)
    return f"{folder.name}@{revision_of(folder)}"
