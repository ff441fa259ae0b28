"""A recipe: one choice for each knob, of which only those that are turned are written down."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..value import Value

Choice = bool | int | float | str


class Recipe(Value):
    """The knobs that are not left as diffusers made the pipeline; no knob at all is the unmodified pipeline."""

    turned: dict[str, Choice] = {}

    @cached_property
    def key(self) -> str:
        """A stable text that people can read too: `compile=openvino precision=bf16`, or `unmodified`."""
        return " ".join(f"{knob}={_said(self.turned[knob])}" for knob in sorted(self.turned)) or "unmodified"

    def __hash__(self) -> int:
        """Equal recipes have equal keys."""
        return hash(self.key)

    def __str__(self) -> str:
        """Return the key."""
        return self.key

    def without(self, knob: str) -> Recipe:
        """Return the same recipe with one knob left as it was."""
        return Recipe(turned={name: choice for name, choice in self.turned.items() if name != knob})


UNMODIFIED = Recipe()


def _said(choice: Any) -> str:
    return f"{choice:g}" if isinstance(choice, float) else str(choice)
