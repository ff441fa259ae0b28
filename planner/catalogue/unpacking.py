"""Unpacking a file of weights, once: everything after works on the folder as on any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from filelock import FileLock

from ...errors import ModelError
from ...probes.model import INDEX, read_model
from ...store.places import make_folder
from ..apart import OnProgress, ignore_progress, work_apart
from ..checkpoint.header import unpacked_size
from ..checkpoint.parts import OPTIONAL, within
from ..checkpoint.place import ORIGIN
from ..checkpoint.source import is_model, source_of, take
from ..checkpoint.unpack import Job, Packed
from ..choose import said_bytes
from ..hub.cache import descriptions, shared_cache, snapshot
from ..hub.fetch import describe, fetch
from ..hub.names import HubName
from . import find_model

if TYPE_CHECKING:
    from ...probes.model import Component
    from .single_file import SingleFile


def have_unpacked(text: str, on_progress: OnProgress = ignore_progress) -> None:
    """Unpack the model that a user means, if it is a file that was not unpacked yet. Raises as `unpack` does."""
    model = find_model(text)
    if model.file and model.card.weights == "none":
        unpack(model.file, on_progress)


def have_parts(text: str, on_progress: OnProgress = ignore_progress) -> None:
    """Fetch what a file lacks of the model that it is laid out like, where that is at the hub. Raises ModelError."""
    model = find_model(text)
    if model.file and model.card.weights == "none" and model.file.entry.hub and _missing(model.file):
        fetch(*HubName(model.file.entry.hub), on_progress, without=(*model.file.inside, *OPTIONAL))


def unpack(file: SingleFile, on_progress: OnProgress = ignore_progress) -> None:
    """Unpack a file unless that was done. Nobody sees half of it, and what an earlier process left half is removed.

    Raises ModelError where the file lacks parts that are not here, where the disk has too little space, and where the
    file is not what its header says.
    """
    mine = file.place.parent.parent
    make_folder(mine)
    with FileLock(mine / ".lock"):
        if file.is_unpacked:
            return
        sources = _sources(file)
        _refuse_without_space(file, mine)
        for dead in mine.glob(".draft-*"):
            shutil.rmtree(dead, ignore_errors=True)
        draft = Path(mkdtemp(prefix=".draft-", dir=mine))
        try:
            _write(file, sources, draft, on_progress)
            for other in (each for each in mine.iterdir() if each.is_dir() and each != draft):
                shutil.rmtree(other)  # what the file was before
            draft.rename(file.place.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _write(file: SingleFile, sources: dict[str, Path], draft: Path, on_progress: OnProgress) -> None:
    folder = draft / file.place.name
    job = Job(
        file=str(file.header.file),
        base=file.base.folder,
        target=str(folder),
        parts=tuple(
            Packed(name=part.name, library=part.library, class_name=part.class_name, prefix=file.inside[part.name])
            for part in file.base.components
            if part.name in file.inside
        ),
        total_bytes=_size_bytes(file),
    )
    failed = f"{file.header.file.name} could not be unpacked: the process that does it ended"
    work_apart("autotune.planner.checkpoint.unpack", [job.model_dump_json()], on_progress, failed)
    for part in file.base.components:
        if part.name in sources:
            take(part, sources[part.name], folder / part.name)
    index = json.loads((Path(file.base.folder) / INDEX).read_text(encoding="utf-8"))
    left_out = {name: [None, None] for name in OPTIONAL if name in index}
    if "safety_checker" in index:
        left_out |= {"requires_safety_checker": False}  # type: ignore[dict-item]  # JSON holds both
    (folder / INDEX).write_text(json.dumps(index | left_out, indent=2), encoding="utf-8")
    (draft / ORIGIN).write_text(json.dumps({"file": str(file.header.file)}), encoding="utf-8")
    read_model(folder)


def _size_bytes(file: SingleFile) -> int:
    return sum(unpacked_size(within(file.header.tensors, prefix))[1] for prefix in file.inside.values())


def _refuse_without_space(file: SingleFile, folder: Path) -> None:
    needed_bytes, free_bytes = _size_bytes(file), shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        msg = (
            f"{file.header.file.name} needs {said_bytes(needed_bytes)} when it is unpacked, and on the disk of "
            f"{folder} {said_bytes(free_bytes)} are free: make space, or set AUTOTUNE_HOME to a larger disk."
        )
        raise ModelError(msg)


def _sources(file: SingleFile) -> dict[str, Path]:
    """Return where each part lies that the file does not hold. Raises ModelError where one is not here."""
    folders, wanted = _folders(file), _outside(file)
    found = {part.name: _found(part, folders) for part in wanted}
    missing = [part for part in wanted if found[part.name] is None]
    small = [part for part in missing if not is_model(part, folders)]
    if missing == small and small and file.entry.hub:
        folders.append(_described(file, small[0]))
        found |= {part.name: _found(part, folders) for part in small}
        missing = [part for part in small if found[part.name] is None]
    if missing:
        raise ModelError(_lacks(file, [part.name for part in missing if part not in small] or [small[0].name]))
    return {name: source for name, source in found.items() if source}


def _outside(file: SingleFile) -> list[Component]:
    return [part for part in file.base.components if part.name not in (*file.inside, *OPTIONAL)]


def _missing(file: SingleFile) -> bool:
    folders = _folders(file)
    return any(_found(part, folders) is None for part in _outside(file))


def _found(part: Component, folders: list[Path]) -> Path | None:
    return source_of(part, folders, with_weights=is_model(part, folders))


def _folders(file: SingleFile) -> list[Path]:
    if file.entry.folder:
        return [Path(file.base.folder)]
    name = HubName(file.entry.hub)
    here = [snapshot(root, name) for root in (shared_cache(), descriptions())]
    return [*filter(None, here), Path(file.base.folder)]


def _described(file: SingleFile, part: Component) -> Path:
    """Return the folder of what the hub has of the model beside weights. Raises ModelError."""
    try:
        return describe(file.entry.hub)
    except ModelError as error:
        msg = f"{file.header.file.name} has no {part.name}, so that of {file.like} is needed. {error} {_made_up(file)}"
        raise ModelError(msg) from error


def _lacks(file: SingleFile, missing: list[str]) -> str:
    where = file.entry.hub or file.base.folder
    way = f"`autotune --model {file.header.file} --weights hub` downloads them. " if file.entry.hub else ""
    return (
        f"{file.header.file.name} holds {' and '.join(file.inside)} alone, and {', '.join(missing)} of {where} are not "
        f"here. {way}{_made_up(file)}"
    )


def _made_up(file: SingleFile) -> str:
    return f"`autotune --model {file.header.file} --weights random` tunes latency and memory with made-up weights."
