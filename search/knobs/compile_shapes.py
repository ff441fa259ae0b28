"""Compile shapes: whether inductor's code is for one size alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .inductor import SHAPES, lacks_compiler
from .knob import Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice


def refuses(choice: Choice, setting: Setting) -> str | None:
    """There must be a compiler; what is done with the choice, `compile` does."""
    del choice
    return lacks_compiler(setting)


COMPILE_SHAPES = Knob(
    name="compile_shapes",
    says="what inductor compiles for: sizes as they come and general ones once they change, each alone, or any",
    choices=tuple(SHAPES),
    default="automatic",
    source="https://docs.pytorch.org/docs/stable/torch.compiler_dynamic_shapes.html",
    refuses=refuses,
)
