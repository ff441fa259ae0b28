"""What is to be told of a tuning: one value, of which the report, the daemon's pages and their JSON are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...probes.machine import Machine
from ...search.plan import Plan, Scope
from ...store.album import Album, album_of
from ...value import Value
from ..spot.verdict import Verdict
from .tally import Choice, Dot, Failure, Role, Tally
from .wording import headline, repeated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...store.run import Run


class Account(Value):
    """A tuning: what came of it, for whom it holds, and what was seen on the way.

    `machine` is as it was when the run was begun, None where nobody knows. `plans` has the winner first, and
    `eyes` is what people saw of it in blind pairs.
    """

    schema_version: int = 1
    model: str
    headline: str
    command: str
    run: str
    state: Literal["new", "resumed", "unfinished", "finished"]
    started_at: str
    ended_at: str
    reason: str
    scope: Scope
    machine: Machine | None
    eyes: Verdict | None = None
    plans: tuple[Plan, ...]
    dots: tuple[Dot, ...]
    failures: tuple[Failure, ...]
    choices: tuple[Choice, ...]
    album: Album

    @property
    def plan(self) -> Plan | None:
        """The winner."""
        return self.plans[0] if self.plans else None

    @property
    def roles(self) -> set[Role]:
        """What there is among the trials."""
        return {dot.role for dot in self.dots}

    @property
    def baseline(self) -> Dot | None:
        """What the others are compared with."""
        return next((dot for dot in self.dots if dot.role == "baseline"), None)


def account_of(run: Run, plans: Sequence[Plan], machine: Machine | None, eyes: Verdict | None = None) -> Account:
    """Return what is to be told of a run with its trials.

    machine: for a run that does not know its own; eyes: what people saw of the winner in blind pairs.
    """
    tally = Tally(run.scope.tolerance)
    tally.add(run.trials)
    return account_by(tally, run, plans, machine, eyes)


def account_by(tally: Tally, run: Run, plans: Sequence[Plan], machine: Machine | None, eyes: Verdict | None) -> Account:
    """Return the same of a run whose trials are counted already."""
    return Account(
        model=run.scope.model,
        headline=headline(plans[0] if plans else None, run),
        command=repeated(run.scope),
        run=run.id,
        state=run.state,
        started_at=run.started_at,
        ended_at=run.ended_at,
        reason=run.reason,
        scope=run.scope,
        machine=run.machine or machine,
        eyes=eyes,
        plans=tuple(plans),
        dots=tally.dots(plans),
        failures=tally.failures,
        choices=tally.choices,
        album=album_of(run.id),
    )
