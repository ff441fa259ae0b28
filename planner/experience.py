"""What this machine's own trials say of memory, out of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..store.store import Store
from .estimate import Experience
from .predict import lessons_of

if TYPE_CHECKING:
    from ..probes.machine import Machine
    from ..probes.model import ModelCard
    from ..search.workload import Workload


def experience_of(store: Store, machine: Machine, card: ModelCard, workload: Workload) -> Experience:
    """Return what trials on a machine teach, of any model; and the peaks that this model had with this workload."""
    here = [run for run in store.runs() if run.scope.machine == machine.fingerprint]
    lessons = lessons_of(trial for run in here for trial in run.trials)
    own = [run for run in here if (run.scope.revision, run.scope.workload) == (card.revision, workload)]
    measured = {
        trial.recipe: trial.peak_memory_bytes
        for run in reversed(own)
        for trial in run.trials
        if trial.outcome in {"ok", "slow"} and trial.peak_memory_bytes
    }
    return Experience(lessons, measured)
