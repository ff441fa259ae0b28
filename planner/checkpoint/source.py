"""The parts that a file does not hold: tokenizers and schedulers always, text encoders and the VAE where it holds but
the denoiser. They are linked from where they lie already, so that nothing is on the disk twice.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from ..hub.listing import SMALL, needs_weights, weights_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ...probes.model import Component

VOCABULARIES = ("vocab.json", "tokenizer.json", "spiece.model")


def source_of(component: Component, folders: Sequence[Path], *, with_weights: bool) -> Path | None:
    """Return the first folder in which a part is whole; None where it is in none.

    folders: of pipelines. with_weights: whether it is a model, and not a tokenizer or a scheduler.
    """
    for folder in folders:
        names = _names(folder / component.name)
        if with_weights:
            whole = bool(weights_in(names, component))
        elif "Tokenizer" in component.class_name:
            whole = any(name in names for name in VOCABULARIES)
        else:
            whole = bool(names)
        if whole:
            return folder / component.name
    return None


def is_model(component: Component, folders: Iterable[Path]) -> bool:
    """Return whether a part has weights, by the first folder that has anything of it."""
    return any(needs_weights(component, _names(folder / component.name)) for folder in folders)


def take(component: Component, source: Path, target: Path) -> None:
    """Put a part into a folder of its own: its small files copied, its weights linked. Raises OSError."""
    target.mkdir(parents=True)
    names = _names(source)
    for name in names:
        if (source / name).suffix in SMALL:
            shutil.copyfile(source / name, target / name)
    for name in weights_in(names, component):
        (target / name).symlink_to((source / name).resolve())


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
