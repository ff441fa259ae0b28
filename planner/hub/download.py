"""The process that asks the hub: `python -m autotune.planner.hub.download describe|fetch ORG/NAME REVISION`.

Behind them stand the components whose weights are left out, if any.

It says on its output in JSON lines how far it is, `{"bytes": 10, "of": 20}`, and last either `{"folder": ...}` or
`{"refused": "a sentence"}`. It ends when its input is closed. The token is read and sent by huggingface_hub alone.

A file of weights is fetched here and not by `snapshot_download`, because since version 2 that throws away what it has
of a file when it is ended, which can be 10 GB. The blob is what it would be, and is checked against its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

from ...errors import AutotuneError, ModelError
from ...probes.model import INDEX, read_model
from ..apart import channel, say
from ..choose import said_bytes
from .cache import COMMIT, descriptions, remember, shared_cache, storage
from .listing import File, parts_of, refuse_own_code, refuse_unusable, small_files, weight_files
from .names import HubName
from .wording import sentence_for

AT_ONCE = 4  # files; more than one, since a connection alone rarely fills the line
TELL_EVERY_S = 0.5
CHUNK_BYTES = 2**20  # what is lost at most when a line is cut; the client's own is 10 MB


def main(what: str, repo: str, revision: str, *without: str) -> None:
    """Do what is asked, and say what came of it."""
    output = channel()
    name = HubName(repo, revision)
    try:
        answer = {"folder": str(_fetched(name, without, output) if what == "fetch" else _Commit(name).description())}
    except AutotuneError as error:
        answer = {"refused": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever a library raises becomes a sentence
        answer = {"refused": sentence_for(error, name)}
    say(output, answer)
    os._exit(0)  # threads may still wait for a server


class _Commit:
    """A repository at the one commit that its revision leads to now: all that is fetched is fetched of that."""

    def __init__(self, name: HubName) -> None:
        """Ask what the commit is, and what is in it."""
        from huggingface_hub import model_info

        info = model_info(name.repo, revision=name.revision, files_metadata=True)
        self.name = name
        self.id = str(info.sha)
        if not COMMIT.fullmatch(self.id):
            msg = f"The hub did not say at which commit {name} is, so it is not fetched."
            raise ModelError(msg)
        self.files = [
            File(
                each.rfilename,
                each.size or 0,
                etag=each.lfs.sha256 if each.lfs else str(each.blob_id),
                sha256=each.lfs.sha256 if each.lfs else "",
            )
            for each in info.siblings or ()
        ]
        if INDEX not in {file.name for file in self.files}:
            msg = f"{name} is not a pipeline in diffusers format: it has no {INDEX} at the hub."
            raise ModelError(msg)

    def description(self) -> Path:
        """Return the folder of what it has beside weights. Raises ModelError where it is refused."""
        folder = storage(descriptions(make=True), self.name.repo) / "snapshots" / self.id
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as part:
                self._describe(Path(part) / "new")
                with suppress(OSError):  # another process was quicker, and has the same
                    (Path(part) / "new").rename(folder)
        components = read_model(folder, str(self.name), weights="none").components
        refuse_unusable(str(self.name), self.files, components)
        remember(descriptions(), self.name, self.id)
        return folder

    def _describe(self, folder: Path) -> None:
        index = json.loads(self.pointer(INDEX).read_text(encoding="utf-8"))
        facts = {INDEX: index if isinstance(index, dict) else {}}
        refuse_own_code(str(self.name), facts)
        names = [file.name for file in small_files(self.files, parts_of(facts[INDEX]))]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for name, file in zip(names, threads.map(self.pointer, names), strict=True):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / name)
        for file in folder.glob("*/config.json"):
            with suppress(ValueError):  # `read_model` says it better
                facts[file.relative_to(folder).as_posix()] = json.loads(file.read_text(encoding="utf-8"))
        refuse_own_code(str(self.name), {name: fact for name, fact in facts.items() if isinstance(fact, dict)})

    def pointer(self, name: str) -> Path:
        """Return a file in the snapshot of the shared cache, fetched where it is not there."""
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(self.name.repo, name, revision=self.id))

    def place(self, file: File) -> Path:
        """Return where a file is in the snapshot, once it is there."""
        return storage(shared_cache(), self.name.repo) / "snapshots" / self.id / file.name

    def blob(self, file: File) -> Path:
        """Return where the shared cache has the content of a file."""
        return storage(shared_cache(), self.name.repo) / "blobs" / file.etag

    def here_bytes(self, file: File) -> int:
        """Return how much of a file is here, whoever fetches it."""
        for whole in (self.place(file), self.blob(file)):
            with suppress(OSError):
                return whole.stat().st_size
        parts = [0]
        for part in self.blob(file).parent.glob(f"{file.etag}*.incomplete"):
            with suppress(OSError):
                parts.append(part.stat().st_size)
        return min(max(parts), file.size_bytes)


def _fetched(name: HubName, without: Sequence[str], output: IO[str]) -> Path:
    """Return the snapshot with its weights, telling on the way how far it is."""
    commit = _Commit(name)
    description = commit.description()
    card = read_model(description, str(name), weights="none")
    weights = weight_files(commit.files, [part for part in card.components if part.name not in without])
    _refuse_without_space(commit, weights)
    files = [*small_files(commit.files, [component.name for component in card.components]), *weights]
    done = threading.Event()
    teller = threading.Thread(target=_tell, args=(commit, files, output, done))
    teller.start()
    threads = ThreadPoolExecutor(AT_ONCE)
    try:
        list(threads.map(lambda file: _fetch_file(commit, file), files))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)  # after a failure nobody waits for the others
        done.set()
        teller.join()
    remember(shared_cache(), name, commit.id)
    return commit.pointer(INDEX).parent


def _tell(commit: _Commit, files: list[File], output: IO[str], done: threading.Event) -> None:
    total_bytes = sum(file.size_bytes for file in files)
    while True:
        last = done.wait(TELL_EVERY_S)
        say(output, {"bytes": sum(map(commit.here_bytes, files)), "of": total_bytes})
        if last:
            return


def _refuse_without_space(commit: _Commit, weights: list[File]) -> None:
    missing_bytes = sum(file.size_bytes - commit.here_bytes(file) for file in weights)
    folder = shared_cache()
    free_bytes = shutil.disk_usage(next(each for each in [folder, *folder.parents] if each.exists())).free
    if missing_bytes > free_bytes:
        msg = (
            f"{commit.name} needs {said_bytes(missing_bytes)} more on the disk of {folder}, "
            f"and {said_bytes(free_bytes)} are free: make space, or set HF_HOME to a larger disk."
        )
        raise ModelError(msg)


def _fetch_file(commit: _Commit, file: File) -> None:
    from huggingface_hub import constants

    place = commit.place(file)
    ours = file.sha256 and file.size_bytes <= constants.MAX_HTTP_DOWNLOAD_SIZE and not place.exists()
    is_new = ours and _fetch_blob(commit, file)
    commit.pointer(file.name)
    if is_new and not place.is_symlink():  # this cache has no links, so the client has made a copy
        commit.blob(file).unlink()


def _fetch_blob(commit: _Commit, file: File) -> bool:
    """Fetch the content of a file, going on where an earlier process was ended; return whether it was not here.

    Lock and names are those of huggingface_hub, whose version 1 goes on with such a file, too.
    Raises ModelError where it arrived damaged.
    """
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # it imports them to be had here, and does not say so
        WeakFileLock,
        build_hf_headers,
    )

    blob, repo = commit.blob(file), commit.name.repo
    lock = storage(shared_cache() / ".locks", repo) / f"{file.etag}.lock"
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{file.etag}.incomplete")
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    with WeakFileLock(lock):
        if blob.exists():
            return False
        with part.open("ab") as stream:
            if stream.tell() > file.size_bytes:
                stream.truncate(0)
            url = hf_hub_url(repo, file.name, revision=commit.id)
            headers, here_bytes = build_hf_headers(), stream.seek(0, os.SEEK_END)
            http_get(url, stream, resume_size=here_bytes, headers=headers, expected_size=file.size_bytes)
        with part.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != file.sha256:
            part.unlink()
            msg = (
                f"{file.name} of {commit.name} arrived damaged, and was thrown away: the same command fetches it again."
            )
            raise ModelError(msg)
        part.replace(blob)
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
