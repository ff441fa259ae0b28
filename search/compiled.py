"""Compiled code that outlives the process: what inductor made for a recipe, kept as one file and unpacked again.

A trial compiles into a folder of its own, so that a compiler that is killed spoils nothing for others. After its first
call that folder is whole, and is kept; later processes begin with a copy of it. On a CPU that is more than torch's own
`save_cache_artifacts` has, which leaves out what the C++ compiler made (ADR 0007 has the times).

What is kept holds pickles and machine code, which torch will run: nothing is read that another user could have
written.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..value import key_of
from .assemble import choices_of
from .knobs.inductor import MODES

if TYPE_CHECKING:
    from .knobs import Bench
    from .recipe import Recipe

log = logging.getLogger("autotune")

BY_INDUCTOR = {"regional", "full", *MODES}
NOT_KEPT = {"locks"}
EXPECTED = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, ValueError)
"""What `zipfile` raises of a damaged archive."""


def is_compiled(recipe: Recipe) -> bool:
    """Return whether inductor compiles something of the recipe."""
    choices = choices_of(recipe)
    return choices["compile"] in BY_INDUCTOR or choices["vae_compile"] is True


def file_of(recipe: Recipe, bench: Bench) -> Path:
    """Return where a recipe's compiled code is kept: all that it depends on is in the name."""
    facts = [bench.software, bench.machine, bench.device, bench.card.revision, bench.workload.key, recipe.key]
    return bench.artifacts / "inductor" / f"{key_of(facts)}.zip"


def recall(recipe: Recipe, bench: Bench, folder: Path) -> bool:
    """Unpack what was compiled for the recipe into inductor's folder, and return whether there was something.

    What lies there already is left as it is, and each file appears whole or not at all: other processes may be using
    the folder. A kept file that is damaged, or not ours alone, is not used, and inductor compiles again.
    """
    file = file_of(recipe, bench)
    if not is_compiled(recipe) or not file.exists():
        return False
    try:
        if not (_ours_alone(file.parent) and _ours_alone(file)):
            log.warning("%s is not used: others than this user may write to it.", file)
            return False
        with zipfile.ZipFile(file) as archive, tempfile.TemporaryDirectory(dir=_made(folder)) as draft:
            archive.extractall(draft)  # checks what it reads, and leads nowhere outside
            for each in filter(Path.is_file, Path(draft).rglob("*")):
                _place(each, folder / each.relative_to(draft))
    except EXPECTED as error:
        log.warning("%s is damaged and is left out, so compiling takes its time again: %s", file, error)
        with suppress(OSError):
            file.unlink()
        return False
    return True


def keep(recipe: Recipe, bench: Bench, folder: Path) -> None:
    """Keep what inductor left in its folder after a first call, where nothing is kept yet; never raises OSError."""
    file = file_of(recipe, bench)
    if not is_compiled(recipe) or file.exists() or not folder.is_dir():
        return
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.parent.chmod(0o700)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".draft-", delete=False) as draft:  # mode 0600
            try:
                with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                    for each in sorted(folder.rglob("*")):
                        within = each.relative_to(folder)
                        if each.is_file() and not each.is_symlink() and within.parts[0] not in NOT_KEPT:
                            archive.write(each, within)
                Path(draft.name).replace(file)
            except BaseException:
                Path(draft.name).unlink()
                raise
    except OSError as error:
        log.warning("What was compiled for %s could not be kept: %s", recipe, error)


def _ours_alone(path: Path) -> bool:
    """Return whether this user owns it and nobody else may write to it."""
    if not hasattr(os, "getuid"):
        return True
    found = path.lstat()
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid == os.getuid() and not shared and not stat.S_ISLNK(found.st_mode)


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _place(source: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
