"""A run: the trials of one scope, from the first to the verdict, over as many sittings as that takes."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from ..probes.machine import Machine
from ..search.measured import Trial
from ..search.plan import Scope
from ..value import Value


class Run(Value):
    """A run as it was found.

    `state` is `new` or `resumed` where the run was just begun and trials may be kept in it, `unfinished` where it was
    only looked up, and `finished` where it has its verdict. `reason` says why it ended last (empty where it never
    has: it is going on, or was killed), `trials` are those so far, in the order in which they were kept. `machine` is
    as it was when the run was begun; older rows have none.
    """

    id: str
    scope: Scope
    state: Literal["new", "resumed", "unfinished", "finished"]
    started_at: str
    ended_at: str = ""
    reason: str = ""
    machine: Machine | None = None
    trials: tuple[Trial, ...] = ()


def new_id() -> str:
    """Return a name that nothing else has, and that sorts by the millisecond it was made in.

    Source: RFC 9562, section 5.7 (UUID version 7).
    """
    milliseconds, version, variant = time.time_ns() // 1_000_000, 7, 0b10
    return str(
        UUID(int=milliseconds << 80 | version << 76 | secrets.randbits(12) << 64 | variant << 62 | secrets.randbits(62))
    )


def now() -> str:
    """Return the time as UTC, ISO 8601, to the second: for people; nothing is ordered by it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
