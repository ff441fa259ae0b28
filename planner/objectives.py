"""What a user wants to be small, checked against what can be measured here."""

from __future__ import annotations

import math
from typing import get_args

from ..errors import UnfitError, UsageError
from ..probes.power import energy_j, why_unreadable
from ..search.objective import Kind, Objective


def objective_of(kind: str, images: int | None, batch: int, device: str) -> Objective:
    """Return the objective that is asked for, of a workload with so many images a call, on a device.

    Raises UsageError where that cannot be meant, and UnfitError where the energy cannot be read.
    """
    known = {name: name for name in get_args(Kind)}
    if kind not in known:
        msg = f"What is to be small is one of {', '.join(known)}, and {kind!r} was given."
        raise UsageError(msg)
    if (images is not None) != (kind == "total"):
        msg = "The number of images belongs to the total, and the total needs one: --objective total --images 20."
        raise UsageError(msg)
    if kind == "energy" and energy_j(device) is None:
        msg = f"The energy of calls cannot be measured here: {why_unreadable(device)}. Take another --objective."
        raise UnfitError(msg)
    calls = math.ceil((images or 1) / batch)
    return Objective(kind=known[kind], calls=calls, batch=batch)
