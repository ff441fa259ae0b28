"""Allocators are found where distributions put them, and the kernel's word on huge pages is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autotune.probes.allocators import find_allocators, huge_pages
from autotune.probes.cpu import ARCHITECTURE

from .machines import make

if TYPE_CHECKING:
    from pathlib import Path

DEBIAN = f"usr/lib/{ARCHITECTURE}-linux-gnu"
FILE = "sys/kernel/mm/transparent_hugepage/enabled"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([f"{DEBIAN}/libjemalloc.so.2"], {"jemalloc": f"{DEBIAN}/libjemalloc.so.2"}),
        (["usr/lib64/libtcmalloc.so.4"], {"tcmalloc": "usr/lib64/libtcmalloc.so.4"}),
        (
            ["usr/lib/libtcmalloc_minimal.so.4", "usr/lib64/libtcmalloc.so.4"],
            {"tcmalloc": "usr/lib/libtcmalloc_minimal.so.4"},
        ),
        (["usr/lib/libjemalloc.so.1"], {}),
    ],
)
def test_libraries_are_found(tmp_path: Path, files: list[str], found: dict[str, str]) -> None:
    root = make(tmp_path, dict.fromkeys(files, ""))
    assert find_allocators(root, "linux") == {name: str(root / place) for name, place in found.items()}
    assert find_allocators(root, "darwin") == {}


@pytest.mark.parametrize(
    ("text", "given"),
    [("always [madvise] never\n", "madvise"), ("[always] madvise never\n", "always"), ("", ""), ("no\n", "")],
)
def test_who_gets_huge_pages(tmp_path: Path, text: str, given: str) -> None:
    assert huge_pages(make(tmp_path, {FILE: text})) == given
