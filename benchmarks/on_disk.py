"""Pipelines that are made once and then lie on disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def written_once(folder: Path, build: Callable[[], Any]) -> Path:
    """Return the folder with what `build` makes, in diffusers format: the same weights each time."""
    if folder.exists():
        return folder
    import torch

    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    torch.manual_seed(0)
    try:
        build().save_pretrained(draft, safe_serialization=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder
