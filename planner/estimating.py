"""Asking what would fit: of this machine or another, of a model by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import NoPlanError
from ..probes.machine import probe, read_machine
from ..store.store import Store
from .catalogue import find_model
from .estimate import Estimate, Experience, estimate
from .experience import experience_of
from .shape import known_shape, shape_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..probes.machine import Machine
    from ..probes.model import ModelCard
    from ..search.workload import Workload
    from .choose import Wish
    from .predict import Shape


def estimate_of(text: str, wish: Wish, machine_file: Path | None = None, max_bytes: int | None = None) -> Estimate:
    """Return what each way to run a model would take. A model that does not ship is rehearsed first, up to a minute.

    wish: parts of the workload in place of the model's own. machine_file: another machine, None for this one.
    Raises ModelError and UsageError.
    """
    model = find_model(text)
    workload = wish.over(model.workload)
    return _estimated(shape_of(model.card, workload), workload, machine_file, max_bytes)


def predicted_plan(text: str, wish: Wish, machine_file: Path | None = None, max_bytes: int | None = None) -> Estimate:
    """Return the same at once, for what is known of the model already.

    Raises NoPlanError where a rehearsal would be needed, and ModelError and UsageError.
    """
    model = find_model(text)
    workload = wish.over(model.workload)
    shape = known_shape(model.card, workload)
    if shape is None:
        msg = (
            f"There is no plan for {text} yet, and what it takes was never found out: `autotune estimate {text}` "
            f"says what would fit in a minute, `autotune --model {text}` measures."
        )
        raise NoPlanError(msg)
    return _estimated(shape, workload, machine_file, max_bytes)


def was_tuned(name: str) -> bool:
    """Return whether a search for a model was ever begun here. Raises StoreError."""
    with Store.read() as store:
        return store.was_tuned(name)


def _estimated(shape: Shape, workload: Workload, machine_file: Path | None, max_bytes: int | None) -> Estimate:
    machine = read_machine(machine_file) if machine_file else probe()
    return estimate(shape, machine, workload, max_bytes, _experience(machine, shape.card, workload))


def _experience(machine: Machine, card: ModelCard, workload: Workload) -> Experience:
    with Store.read() as store:
        return experience_of(store, machine, card, workload)
