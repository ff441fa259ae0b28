"""Imported by a template, it lets the unmodified pipeline fill the memory, as that of a large model does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.search import assemble
from autotune.search.recipe import UNMODIFIED

from .saboteur import fill_memory

if TYPE_CHECKING:
    from autotune.search.knobs import Bench
    from autotune.search.recipe import Recipe

_assemble = assemble.assemble


def assemble_in_little(recipe: Recipe, bench: Bench) -> Any:
    """Assemble, unless nothing is turned."""
    if recipe == UNMODIFIED:
        fill_memory()
    return _assemble(recipe, bench)


assemble.assemble = assemble_in_little
