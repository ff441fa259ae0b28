"""What lies here already: snapshots in the Hugging Face cache, and descriptions without weights in autotune's own.

Both are laid out alike: `models--ORG--NAME`, in it `refs/REVISION` with a commit and `snapshots/COMMIT` with the files.
Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from ...errors import ModelError
from ...probes.model import INDEX, read_model
from ...probes.whole import write_whole
from ...store.places import cache_dir
from .listing import needs_weights, weights_in
from .names import HubName

COMMIT = re.compile(r"[0-9a-f]{40}")


def shared_cache() -> Path:
    """Return the folder that all tools of Hugging Face share: $HF_HUB_CACHE, or where that is by default."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def descriptions(*, make: bool = False) -> Path:
    """Return the folder of what was described. Raises StoreError if it is to be made and cannot be."""
    return cache_dir(make=make) / "hub"


def storage(root: Path, repo: str) -> Path:
    """Return where a repository's files lie below the root of a cache."""
    return root / f"models--{repo.replace('/', '--')}"


def snapshot(root: Path, name: HubName) -> Path | None:
    """Return the files of a revision as it was when it was last asked for; None where there are none."""
    place = storage(root, name.repo)
    commit = name.revision
    with suppress(OSError, UnicodeDecodeError):
        if not COMMIT.fullmatch(commit):
            commit = (place / "refs" / commit).read_text(encoding="ascii").strip()
        folder = place / "snapshots" / commit
        if COMMIT.fullmatch(commit) and (folder / INDEX).is_file():
            return folder
    return None


def remember(root: Path, name: HubName, commit: str) -> None:
    """Note which commit a branch or tag led to, in one step that no reader sees half of."""
    if name.revision == commit:
        return
    write_whole(storage(root, name.repo) / "refs" / name.revision, commit)


def with_weights(name: HubName) -> Path | None:
    """Return the snapshot of a revision in the shared cache if every component's weights are in it; else None."""
    folder = snapshot(shared_cache(), name)
    return folder if folder and is_complete(folder) else None


def is_complete(folder: Path) -> bool:
    """Return whether every component's weights are in a folder, those that are linked too."""
    try:
        card = read_model(folder, weights="none")
    except ModelError:
        return False
    for component in card.components:
        names = [file.name for file in (folder / component.name).iterdir() if file.exists()]
        if needs_weights(component, names) and not weights_in(names, component):
            return False
    return True
