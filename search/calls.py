"""The calls that were made of one pipeline, with what was seen beside each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from ..probes.load import Load, together
from .measured import Latency
from .trial.answers import Ran


@dataclass
class Calls:
    """Calls in the order in which they were made; each list has one entry a call, energies only where read."""

    samples_ms: list[float] = field(default_factory=list)
    steps_ms: list[float] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    energy_j: list[float] = field(default_factory=list)

    def add(self, answer: Ran, load: Load, energy_j: float | None = None) -> None:
        """Take in what a trial's process answered to `run`, what went on beside it, and the energy of these calls."""
        count = len(answer.latency_ms)
        self.samples_ms += answer.latency_ms
        self.steps_ms += answer.steps_ms
        self.loads += [load] * count
        self.energy_j += [] if energy_j is None else [energy_j / count] * count

    def __iadd__(self, other: Calls) -> Self:
        """Take in calls that were made after these."""
        self.samples_ms += other.samples_ms
        self.steps_ms += other.steps_ms
        self.loads += other.loads
        self.energy_j += other.energy_j
        return self

    @property
    def latency(self) -> Latency:
        """What they took. There must be one."""
        return Latency(
            samples_ms=tuple(self.samples_ms),
            steps_ms=tuple(self.steps_ms),
            foreign_cores=tuple(load.foreign_cores for load in self.loads),
        )

    @property
    def load(self) -> Load:
        """What went on beside them on average."""
        return together(self.loads)
