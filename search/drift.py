"""Whether the machine is still what it was when the baseline was measured: what it takes now over what it took then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .pace import FIRST_CALLS

if TYPE_CHECKING:
    from ..probes.load import Load
    from .measured import Trial

EVERY = 10  # trials
FEWEST = 3  # trials before the baseline is measured once more, however the load changes
MUCH_GPU = 0.1  # more or less of it that others use
MUCH_CORES = 0.5  # more or fewer that others use than when the baseline was measured last
NOISE = 0.05  # what is no drift
SHARE = 0.1  # of the time that is left, at most, for one measurement more


@dataclass
class Drift:
    """The baseline's latency at first and now; `factor` is by how much slower everything is taken to be now.

    `foreign_cores` and `foreign_gpu` are what others used when it was measured last, `cost_s` how long that takes;
    `changed` says whether others used much more or much less beside the last trial.
    """

    first_ms: float | None = None
    factor: float = 1.0
    foreign_cores: float = 0.0
    foreign_gpu: float = 0.0
    cost_s: float = 0.0
    trials: int = 0
    changed: bool = False

    def begin(self, baseline: Trial) -> None:
        """Take the first trial of the baseline; all that comes is compared with it."""
        self.first_ms, self.factor = baseline.median_ms * baseline.drift, 1.0
        self.cost_s = baseline.ready_s + FIRST_CALLS * self.first_ms / 1000
        self._settle(baseline.load)

    def doubt(self) -> None:
        """The baseline was measured in an earlier sitting: it should be measured again soon."""
        self.trials = EVERY

    def note(self, baseline_ms: float, load: Load) -> None:
        """Take the baseline's latency of now."""
        ratio = baseline_ms / (self.first_ms or baseline_ms)
        self.factor = ratio if abs(ratio - 1) > NOISE else 1.0
        self._settle(load)

    def heard(self, trial: Trial) -> None:
        """Take into account what went on beside a trial."""
        self.trials += 1
        self.changed = trial.load is not None and self.is_more_or_less(trial.load)

    def is_more_or_less(self, load: Load) -> bool:
        """Return whether others use much more, or much less, than when the baseline was measured last."""
        more_gpu = abs(load.foreign_gpu - self.foreign_gpu) > MUCH_GPU
        return abs(load.foreign_cores - self.foreign_cores) > MUCH_CORES or more_gpu

    def is_due(self, left_s: float, *, anyhow: bool = False) -> bool:
        """Return whether the baseline should be measured again now. anyhow: it should, if there is the time."""
        asked = anyhow or self.trials >= EVERY or (self.changed and self.trials >= FEWEST)
        return self.first_ms is not None and asked and self.cost_s <= SHARE * left_s

    def _settle(self, load: Load | None) -> None:
        self.foreign_cores = load.foreign_cores if load else 0.0
        self.foreign_gpu = load.foreign_gpu if load else 0.0
        self.trials, self.changed = 0, False
