"""What may be asked of a job over HTTP: whoever asks may name models, and no other files of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...errors import UsageError
from ...store.job import Order
from ..hub.names import parse_name

ROOTS = "AUTOTUNE_MODELS"
"""Folders below which models may be named by their paths, as in PATH: `/models:/srv/more`."""

_SHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_OF_A_TUNING = {
    *("model", "width", "height", "steps", "guidance", "batch", "frames"),
    *("most_trials", "tolerance", "weights", "force"),
}
_ONLY = {
    "tune": {"budget_s", "fresh", *_OF_A_TUNING},
    "verify": {"budget_s", "fresh", "architectures"},
    "recheck": {"budget_s", "plan"},
    "spot": {"model", "plan", "turns", "prompts", "pairs"},
}
_NEEDED = {"tune": "model", "verify": "", "recheck": "plan", "spot": "model"}


def permitted(order: Order) -> Order:
    """Return an order that may be done, as it is. Raises UsageError."""
    said = {name for name in order.model_dump(exclude_defaults=True) if name not in {"kind", "idle_only"}}
    if needless := sorted(said - _ONLY[order.kind]):
        msg = f"A job that is to {order.kind} takes no {needless[0]}: it takes {', '.join(sorted(_ONLY[order.kind]))}."
        raise UsageError(msg)
    if (needed := _NEEDED[order.kind]) and needed not in said:
        msg = f"A job that is to {order.kind} needs to know the {needed}."
        raise UsageError(msg)
    if order.plan and not re.fullmatch(r"[0-9a-f]{16}", order.plan):
        msg = f"A plan's id is 16 hexadecimal digits, and {order.plan[:80]!r} was given."
        raise UsageError(msg)
    if order.model and not may_be_named(order.model):
        msg = (
            f"A job may be for a model of the catalogue, for org/name at the hub, or for a path below a folder of "
            f"{ROOTS}, and {order.model[:200]!r} was given: set {ROOTS} where the daemon is started."
        )
        raise UsageError(msg)
    return order


def may_be_named(model: str) -> bool:
    """Return whether a job may be asked for this model: by its short name, at the hub, or below a folder of ROOTS."""
    if _SHORT_NAME.fullmatch(model) or (parse_name(model) and not model.startswith((".", "/", "~"))):
        return True
    roots = [Path(root) for root in os.environ.get(ROOTS, "").split(os.pathsep) if root]
    try:
        path = Path(model)
        return path.is_absolute() and any(path.resolve().is_relative_to(root.resolve()) for root in roots)
    except (OSError, ValueError, RuntimeError):
        return False
