"""What is asked of a pipeline: the same for every recipe, so that recipes can be compared."""

from __future__ import annotations

from pydantic import Field

from ..value import Value, key_of


class Workload(Value):
    """One call of the pipeline. Sizes are in pixels; scheduler and steps belong here, not to the knobs."""

    width: int = Field(ge=8)
    height: int = Field(ge=8)
    steps: int = Field(ge=1)
    guidance: float = Field(ge=0)
    batch: int = Field(default=1, ge=1)
    frames: int = Field(default=1, ge=1)

    @property
    def key(self) -> str:
        """A short stable key, the same on every machine."""
        return key_of(self.model_dump())

    def __str__(self) -> str:
        """Say it in words: `128x128, 20 steps, guidance 4`."""
        more = [f"batch {self.batch}"] * (self.batch > 1) + [f"{self.frames} frames"] * (self.frames > 1)
        return ", ".join([f"{self.width}x{self.height}", f"{self.steps} steps", f"guidance {self.guidance:g}", *more])
