"""The sentence about a model's weights where they are needed and are not on this machine."""

from __future__ import annotations

from ...errors import ModelError
from ...probes.model import ModelCard
from ..choose import said_bytes
from .entries import Entry, entries


def require_weights(card: ModelCard) -> None:
    """Raise ModelError, which says what would work, where a model's weights are needed and are not here."""
    if card.weights == "none":
        entry = entries().get(card.name)
        raise ModelError(missing(card.name, entry, sum(part.bytes for part in card.components)))


def missing(name: str, entry: Entry | None, size: int = 0) -> str:
    """Return the sentence about weights that are not here.

    entry: None for a model of the hub that is in no catalogue. size: of all files, in bytes, 0 where it is not known.
    """
    where = entry.hub if entry else name
    known = ""
    if entry:
        gated = ", gated: its conditions must be accepted on the hub first" if entry.gated else ""
        known = f" ({entry.licence or 'licence not known'}{gated})"
    what = f"{said_bytes(size)} of {where}" if size else where
    return (
        f"The weights of {name} are not here: {what}{known}. "
        f"`autotune --model {name} --weights hub` downloads them, "
        f"`--weights random` tunes latency and memory with made-up weights."
    )
