"""Allocator: who hands out memory in the process, instead of the C library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...probes.allocators import ALLOCATORS
from .knob import Knob, Setting

if TYPE_CHECKING:
    from ...probes.software import Software
    from ..recipe import Choice

PACKAGES = {"jemalloc": "libjemalloc2", "tcmalloc": "libtcmalloc-minimal4t64, before Debian 13 libtcmalloc-minimal4"}


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Tensors must lie in the process's own memory, and the library must be there."""
    if setting.device != "cpu":
        return f"tensors lie in the {setting.device}'s memory, which has an allocator of its own"
    if str(choice) not in setting.machine.software.allocators:
        return f"needs {choice}, which was not found (Debian: apt install {PACKAGES[str(choice)]})"
    return None


def environment(choice: Choice, software: Software) -> dict[str, str]:
    """Return what preloads the library; by its bare name, which the loader looks up, where it was not found."""
    return {"LD_PRELOAD": software.allocators.get(str(choice), ALLOCATORS[str(choice)][0])}


ALLOCATOR = Knob(
    name="allocator",
    says="the memory allocator that the process is started with",
    choices=("default", *ALLOCATORS),
    default="default",
    source="https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html (switch memory allocator)",
    refuses=refuses,
    environment=environment,
)
