"""What a trial process is told: everything that it needs to put a pipeline together, as JSON."""

from __future__ import annotations

from pathlib import Path

from ...probes.model import ModelCard
from ...value import Value
from ..additions import NOTHING_ADDED, Additions
from ..knobs import Bench
from ..recipe import Recipe
from ..workload import Workload


class Order(Value):
    """One recipe on one bench. Paths are text, because JSON has nothing else.

    compiled: a folder for what inductor compiles, of this recipe alone. A compiler that is killed leaves half a file,
    which in a folder that trials share would fail the next that needs it ("file too short").
    device_limit_bytes: what may be taken of an accelerator's own memory; None for all that there is.
    """

    recipe: Recipe
    card: ModelCard
    workload: Workload
    device: str
    threads: int
    artifacts: str
    compiled: str
    software: str
    machine: str
    calibration_prompts: tuple[str, ...]
    added: Additions = NOTHING_ADDED
    device_limit_bytes: int | None = None

    def bench(self) -> Bench:
        """Return the bench that the order describes."""
        return Bench(
            card=self.card,
            workload=self.workload,
            device=self.device,
            artifacts=Path(self.artifacts),
            software=self.software,
            calibration_prompts=self.calibration_prompts,
            machine=self.machine,
            added=self.added,
        )
