"""The models that judge images: what names them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..probes.model import revision_of
from ..search.witness import LPIPS_BACKBONE, LPIPS_WEIGHTS, kind_in
from ..value import key_of

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


def witness_id(folder: Path) -> str:
    """Return what names a further model that looks at images. Raises UsageError where the folder holds none."""
    if not folder.is_dir() or kind_in(folder) is None:
        msg = (
            f"{folder} holds no model that looks at images: a CLIPModel or an encoder of images such as DINO, as "
            "transformers keeps them (config.json, preprocessor_config.json, safetensors), or LPIPS "
            f"({LPIPS_BACKBONE}, {LPIPS_WEIGHTS})."
        )
        raise UsageError(msg)
    digest = _digest(folder) if kind_in(folder) == "distance" else revision_of(folder)
    return f"{folder.absolute().name}@{digest}"


def _digest(folder: Path) -> str:
    """Return a digest of the files of LPIPS, which are no safetensors."""
    digests = []
    for file in sorted(folder.glob("*.pth")):
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return key_of(digests)
