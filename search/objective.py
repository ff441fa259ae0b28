"""What is to be small: what a call takes, or an image, or its energy, or all the time that some images take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["latency", "throughput", "energy", "total"]


class Objective(Value):
    """What recipes are compared by.

    `latency`: milliseconds of a warm call; `throughput`: milliseconds an image, `batch` of which come from a call;
    `energy`: joules of a call; `total`: milliseconds for so many `calls` of a fresh process, loading and compiling too.
    """

    kind: Kind = "latency"
    calls: int = Field(default=1, ge=1)
    batch: int = Field(default=1, ge=1)

    def costs(
        self, samples_ms: Sequence[float], load_s: float = 0.0, cold_s: float = 0.0, energy_j: Sequence[float] = ()
    ) -> tuple[float, ...]:
        """Return what each call says of the cost; the first call of a process is its cold one."""
        if self.kind == "energy":
            return tuple(energy_j)
        if self.kind == "total":
            ready_ms = 1000 * (load_s + cold_s)
            return tuple(ready_ms + (self.calls - 1) * sample for sample in samples_ms)
        return tuple(sample / (self.batch if self.kind == "throughput" else 1) for sample in samples_ms)

    def call_ms(self, cost: float, load_s: float, cold_s: float) -> float:
        """Return what a warm call of a pipeline may take at a given cost; 0 where there is nothing left for it.

        It is infinite where calls of any length can have that cost.
        """
        if self.kind == "latency":
            return cost
        if self.kind == "throughput":
            return cost * self.batch
        left_ms = cost - 1000 * (load_s + cold_s)
        if self.kind == "energy" or (self.calls == 1 and left_ms > 0):
            return math.inf
        return max(0.0, left_ms / max(1, self.calls - 1))

    @property
    def key(self) -> str:
        """What names it in a scope; empty for latency, which was the only one once. The batch is the workload's."""
        return {"latency": "", "total": f"total of {self.calls} calls"}.get(self.kind, self.kind)

    @property
    def noun(self) -> str:
        """What is said to be so many times smaller."""
        total = f"the time for {self.calls} call{'s' * (self.calls > 1)} with loading and compiling"
        return {"throughput": "the time an image", "energy": "the energy of a call", "total": total}.get(
            self.kind, "the latency"
        )


LATENCY = Objective()
