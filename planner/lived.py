"""What became of a plan in apps, and what follows from it: it needs more than was measured, or is given no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..store.outcome import Outcome

MOST_FAILURES = 2
"""A plan that failed so often in one way is given no more. Once may be chance: another process took the memory."""


@dataclass(frozen=True)
class Lived:
    """What apps have said of one plan.

    `out_of_memory` counts the calls that ran out of it, `errors` those that failed otherwise since the last that went
    well. `peak_bytes` is the most that any call took, and `short_bytes` the most that was free when one ran out of it.
    """

    out_of_memory: int = 0
    errors: int = 0
    peak_bytes: int = 0
    short_bytes: int = 0
    detail: str = ""

    @property
    def demoted(self) -> str:
        """Why the plan is given no more, without its name; empty where it may be given."""
        quoted = f", at last with: {self.detail}" if self.detail else ""
        if self.out_of_memory >= MOST_FAILURES:
            return f"ran out of memory {self.out_of_memory} times in apps{quoted}"
        if self.errors >= MOST_FAILURES:
            return f"failed {self.errors} times in a row in apps{quoted}"
        return ""


def lived(outcomes: Iterable[Outcome]) -> dict[str, Lived]:
    """Return what became of each plan, by its id. outcomes: in the order in which they were reported."""
    found: dict[str, Lived] = {}
    for outcome in outcomes:
        found[outcome.plan_id] = _with(found.get(outcome.plan_id, Lived()), outcome)
    return found


def _with(before: Lived, outcome: Outcome) -> Lived:
    short = outcome.outcome == "out_of_memory"
    errors = {"ok": 0, "error": before.errors + 1}
    return Lived(
        out_of_memory=before.out_of_memory + short,
        errors=errors.get(outcome.outcome, before.errors),
        peak_bytes=max(before.peak_bytes, outcome.peak_bytes or 0),
        short_bytes=max(before.short_bytes, (outcome.free_bytes or 0) if short else 0),
        detail=outcome.detail or before.detail,
    )
