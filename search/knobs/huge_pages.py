"""Huge pages: large tensors in pages of 2 MiB, of which the processor remembers more than of 4 KiB ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .knob import Knob, Setting

if TYPE_CHECKING:
    from ...probes.software import Software
    from ..recipe import Choice


def refuses(choice: Choice, setting: Setting) -> str | None:
    """The kernel must give huge pages to who asks, and tensors must lie in memory that it manages."""
    del choice
    if setting.device != "cpu":
        return f"tensors lie in the {setting.device}'s memory, which has pages of its own"
    given = setting.machine.software.huge_pages
    if given not in {"madvise", "always"}:
        return f"the kernel gives huge pages to: {given or 'nobody, as it seems'} (transparent_hugepage/enabled)"
    return None


def environment(choice: Choice, software: Software) -> dict[str, str]:
    """Return what makes torch's allocator align large tensors and ask for huge pages.

    Source: torch 2.13, `c10/core/impl/alloc_cpu.cpp` (THP_MEM_ALLOC_ENABLE, read at the first allocation)
    """
    del choice, software
    return {"THP_MEM_ALLOC_ENABLE": "1"}


HUGE_PAGES = Knob(
    name="huge_pages",
    says="large tensors of torch in transparent huge pages",
    choices=(False, True),
    default=False,
    source="torch, c10/core/impl/alloc_cpu.cpp; Linux, Documentation/admin-guide/mm/transhuge.rst",
    refuses=refuses,
    environment=environment,
)
