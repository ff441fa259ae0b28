"""The answer where nothing was measured yet: what is predicted to fit, out of what was worked out once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..errors import NoPlanError
from ..search.assemble import environment, workload_of
from ..search.pipeline import call_arguments
from .catalogue import find_model
from .catalogue.configurations import shipped_files
from .catalogue.entries import entries
from .choose import said_bytes, with_reserve
from .daemon.wire import Prediction
from .estimate import Estimate, Option, estimate
from .experience import experience_of
from .jobs.offer import tuning
from .shape import known_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from ..probes.machine import Machine
    from ..store.store import Store
    from .choose import Wish

MOST_KEPT = 64


class Forecasts:
    """Predictions. What a model would take is worked out once for each workload, which takes a tenth of a second."""

    def __init__(self, read_store: Callable[[], AbstractContextManager[Store]]) -> None:
        """Take what opens the store: this machine's own trials correct what is predicted."""
        self._read_store = read_store
        self._lock = threading.Lock()  # of ten apps that ask at once, one works it out
        self._kept: dict[tuple[str, str, str, str], tuple[Estimate, str]] = {}

    def predict(
        self, name: str, wish: Wish, machine: Machine, free_bytes: Mapping[str, int], max_memory_bytes: int | None
    ) -> Prediction | None:
        """Return what fits into the memory that is free now, as far as is known; None for a model that does not ship.

        Raises NoPlanError where no way to run it can be had here.
        """
        if not is_shipped(name):
            return None
        found = self._estimated(name, wish, machine)
        if found is None:
            return None
        predicted = _prediction(*found, machine, free_bytes, max_memory_bytes)
        return predicted.model_copy(update={"job": tuning(name, wish)})

    def _estimated(self, name: str, wish: Wish, machine: Machine) -> tuple[Estimate, str] | None:
        key = (name, wish.model_dump_json(), machine.fingerprint, machine.software.key)
        with self._lock:
            if key not in self._kept:
                found = self._work_out(name, wish, machine)
                if found is None:
                    return None
                self._kept = dict([*self._kept.items()][1 - MOST_KEPT :])
                self._kept[key] = found
            return self._kept[key]

    def _work_out(self, name: str, wish: Wish, machine: Machine) -> tuple[Estimate, str] | None:
        model = find_model(name)
        workload = wish.over(model.workload)
        shape = known_shape(model.card, workload)
        if shape is None:
            return None
        with self._read_store() as store:
            experience = experience_of(store, machine, model.card, workload)
        return estimate(shape, machine, workload, experience=experience), model.card.pipeline_class


def is_shipped(name: str) -> bool:
    """Return whether a name is one of the catalogue whose configuration came with us: nothing else is looked up."""
    return name == "shapes" or (name in entries() and bool(shipped_files(name)))


def _prediction(
    estimated: Estimate,
    pipeline_class: str,
    machine: Machine,
    free_bytes: Mapping[str, int],
    max_memory_bytes: int | None,
) -> Prediction:
    device = estimated.device
    free = free_bytes.get(device, free_bytes.get(f"{device}:0", 0))
    limit = free if max_memory_bytes is None else min(free, max_memory_bytes)
    host = free_bytes.get("cpu", 0)
    if not estimated.options:
        msg = f"There is no plan for {estimated.model}, and no usual way to run it can be had on this machine."
        raise NoPlanError(msg)
    fitting = (each for each in estimated.options if _needs(each) <= limit and each.need.host_bytes <= host)
    chosen = next(fitting, None)
    fits = chosen is not None
    chosen = chosen or min(estimated.options, key=_needs)
    smaller = (each for each in estimated.options if _needs(each) < _needs(chosen))
    safer = next(smaller, None)
    name = estimated.model
    return Prediction(
        model=name,
        reason=_reason(chosen, limit, fits=fits),
        device=device,
        workload=estimated.workload,
        fits=fits,
        needs_bytes=_needs(chosen),
        free_bytes=free,
        safer=safer.recipe if safer else None,
        asked=f"There is no plan for {name} yet, and this is predicted: run `autotune --model {name}`.",
        call=call_arguments(workload_of(chosen.recipe, estimated.workload), pipeline_class),
        apply=chosen.recipe.turned,
        environment=environment(chosen.recipe, machine.software),
        notes=estimated.notes,
    )


def _needs(option: Option) -> int:
    return with_reserve(option.need.peak_bytes)


def _reason(option: Option, limit_bytes: int, *, fits: bool) -> str:
    needed, room = said_bytes(_needs(option)), said_bytes(limit_bytes)
    if fits:
        return f"Predicted, not measured: {option.because}. It needs {needed} of the {room} that it may take."
    return f"Predicted, not measured: nothing fits into {room}; this needs least, {needed}."
