"""Memory allocators that a process can be started with in the place of the C library's, and huge pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from .cpu import ARCHITECTURE
from .files import ROOT, text_of

ALLOCATORS = {
    "jemalloc": ("libjemalloc.so.2",),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4"),
}
"""What the libraries are called; of several names the first that is there."""

FOLDERS = ("usr/local/lib", f"usr/lib/{ARCHITECTURE}-linux-gnu", "usr/lib64", "usr/lib")


def find_allocators(root: Path = ROOT, system: str = sys.platform) -> dict[str, str]:
    """Return where each allocator's library lies, without those that are not there. Linux only: it can preload them.

    Source: man 8 ld.so (LD_PRELOAD); the file names are those of Debian, Fedora and Arch.
    """
    if system != "linux":
        return {}
    places = {
        name: next((place for file in files for folder in FOLDERS if (place := root / folder / file).is_file()), None)
        for name, files in ALLOCATORS.items()
    }
    return {name: str(place) for name, place in places.items() if place}


def huge_pages(root: Path = ROOT) -> str:
    """Return who gets huge pages: `always`, `madvise` (who asks), `never`; empty where the system does not say.

    Source: Linux, Documentation/admin-guide/mm/transhuge.rst.
    """
    chosen = re.search(r"\[(\w+)\]", text_of(root / "sys/kernel/mm/transparent_hugepage/enabled"))
    return chosen.group(1) if chosen else ""
