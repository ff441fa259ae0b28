"""What a user adds to a model: adapters that every call is made with, and distilled variants of its parts."""

from __future__ import annotations

from ..probes.adapter import Adapter
from ..probes.model import Component
from ..value import Value
from .recipe import Recipe

VARIANTS = ("tiny_vae", "small_denoiser", "lcm_lora")
"""Distilled variants: each is a knob, and the name of the field that says where it lies."""


def distilled_in(recipe: Recipe) -> bool:
    """Return whether a recipe uses a distilled variant: then its images are another model's."""
    return any(name in recipe.turned for name in VARIANTS)


class Additions(Value):
    """What is added to the model, or may be.

    `adapters` are loaded into the baseline and into every trial. The variants are only tried where the user allows
    the model itself to be changed: `distilled_allowed`.
    """

    adapters: tuple[Adapter, ...] = ()
    distilled_allowed: bool = False
    tiny_vae: Component | None = None
    small_denoiser: Component | None = None
    lcm_lora: Adapter | None = None

    def lacks(self, variant: str) -> str | None:
        """Return the sentence that says why a distilled variant is not to be tried, None where it may be."""
        if not self.distilled_allowed:
            return "changes the model itself, which is tried with --allow distilled alone"
        if getattr(self, variant) is None:
            return f"nobody said where it lies: --distilled {variant}=PATH"
        return None

    @property
    def adapter_keys(self) -> tuple[str, ...]:
        """What names the adapters in a scope; their order changes nothing."""
        return tuple(sorted(adapter.key for adapter in self.adapters))

    @property
    def distilled_keys(self) -> tuple[str, ...]:
        """What names the allowed variants in a scope."""
        found = {name: getattr(self, name) for name in VARIANTS}
        return tuple(f"{name}@{_digest(one)}" for name, one in found.items() if one is not None)

    @property
    def options(self) -> tuple[str, ...]:
        """The options of the command line that say the same."""
        words = [word for adapter in self.adapters for word in ("--lora", str(adapter))]
        words += ["--allow", "distilled"] * self.distilled_allowed
        for name in VARIANTS:
            words += ["--distilled", f"{name}={place}"] if (place := self.place(name)) else []
        return tuple(words)

    def place(self, variant: str) -> str:
        """Return where a variant lies; empty where there is none."""
        found = getattr(self, variant)
        if found is None:
            return ""
        return found.file if isinstance(found, Adapter) else str(found.folder)


NOTHING_ADDED = Additions()


def _digest(variant: Component | Adapter) -> str:
    return variant.key if isinstance(variant, Adapter) else variant.revision
