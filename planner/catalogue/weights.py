"""The sentences about a model's weights where they are needed and are not on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ModelError
from ...search.footprint import ITEM_BYTES
from ..choose import said_bytes
from .entries import entries

if TYPE_CHECKING:
    from ...probes.machine import Machine
    from ...probes.model import ModelCard


def require_weights(card: ModelCard, machine: Machine | None = None) -> None:
    """Raise ModelError, which says what would work, where a model's weights are needed and are not here.

    machine: where it is to be tuned: whether it is too small for that is said too.
    """
    if card.weights == "none":
        raise ModelError(f"{_missing(card)}{_too_large(card, machine) if machine else ''}")


def _missing(card: ModelCard) -> str:
    entry, name = entries().get(card.name), card.name
    where, known = entry.hub if entry else name, ""
    if entry:
        gated = ", gated: its conditions must be accepted on the hub first" if entry.gated else ""
        known = f" ({entry.licence or 'licence not known'}{gated})"
    size_bytes = sum(part.bytes for part in card.components)
    what = f"{said_bytes(size_bytes)} of {where}" if size_bytes else where
    return (
        f"The weights of {name} are not here: {what}{known}. "
        f"`autotune --model {name} --weights hub` downloads them, "
        f"`--weights random` tunes latency and memory with made-up weights."
    )


def _too_large(card: ModelCard, machine: Machine) -> str:
    """Say that a machine does not hold the weights in half precision; that much of it must run to be compared with."""
    needed_bytes = ITEM_BYTES["bf16"] * sum(part.parameters for part in card.components)
    there_bytes = machine.memory.total_bytes + sum(each.total_bytes for each in machine.accelerators)
    if needed_bytes <= there_bytes:
        return ""
    return (
        f" But neither can be tuned here: in bf16 the weights alone take {said_bytes(needed_bytes)}, and there are "
        f"{said_bytes(there_bytes)} of memory."
    )
