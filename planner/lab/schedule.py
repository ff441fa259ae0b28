"""Which job a machine takes next: the highest priority, then the longest, within budgets. Knows neither Ray nor time.

A job is for a kind of machine, and any machine of the kind may take it. The longest comes first because what is left
for the end then is short, so that machines of a kind end together (Graham 1969, longest processing time first: at most
4/3 of the best that can be).
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CAN_PASS = frozenset({"machine lost", "process lost", "machine busy", "no answer"})
"""Causes that another try may not meet again. What a model or a request lacks is lacking the next time too."""

WAIT_S = 15.0
"""Before the second try; twice as long before each further one."""


@dataclass(frozen=True)
class Job:
    """One tuning: a model and a workload on a kind of machine. expected_s: how long it will probably take."""

    key: str
    kind: str
    expected_s: float
    priority: int = 0
    tries: int = 0
    not_before_s: float = 0.0


@dataclass
class Schedule:
    """The jobs that are still to be done.

    total_s: how much machine time all jobs together may take; retries: how often one is tried again. What was spent,
    and what the running ones are expected to take, is counted against the total.
    """

    total_s: float = math.inf
    retries: int = 2
    spent_s: float = 0.0
    _waiting: dict[str, list[tuple[int, float, str, Job]]] = field(default_factory=lambda: defaultdict(list))
    _running: dict[str, Job] = field(default_factory=dict)

    def add(self, jobs: Iterable[Job]) -> None:
        """Take jobs in."""
        for job in jobs:
            heapq.heappush(self._waiting[job.kind], (-job.priority, -job.expected_s, job.key, job))

    def take(self, kind: str, now_s: float = 0.0) -> Job | None:
        """Return the next job for a machine of a kind, which then runs; None where there is none for it now.

        A job that the total does not reach for stays, and a shorter one is taken in its place.
        """
        passed: list[tuple[int, float, str, Job]] = []
        found = None
        waiting, left_s = self._waiting[kind], self.left_s
        while left_s > 0 and waiting and found is None:
            entry = heapq.heappop(waiting)
            job = entry[-1]
            if job.not_before_s > now_s or job.expected_s > left_s:
                passed.append(entry)
            else:
                found = job
        for entry in passed:
            heapq.heappush(waiting, entry)
        if found:
            self._running[found.key] = found
        return found

    def lend(self, job: Job) -> bool:
        """Count what a machine that helps with a job will take, and return whether the total reaches for it."""
        reached = job.expected_s <= self.left_s
        if reached:
            self._running[job.key] = job
        return reached

    def done(self, job: Job, took_s: float) -> None:
        """Hear that a running job has ended, well or for good."""
        del self._running[job.key]
        self.spent_s += took_s

    def failed(self, job: Job, cause: str, took_s: float, now_s: float = 0.0) -> bool:
        """Hear that a running job has failed, and return whether it will be tried again."""
        self.done(job, took_s)
        if cause not in CAN_PASS or job.tries >= self.retries:
            return False
        self.add([replace(job, tries=job.tries + 1, not_before_s=now_s + WAIT_S * 2**job.tries)])
        return True

    @property
    def left_s(self) -> float:
        """How much of the total is neither spent nor promised."""
        return self.total_s - self.spent_s - sum(job.expected_s for job in self._running.values())

    @property
    def waiting(self) -> Iterator[Job]:
        """The jobs that no machine has taken."""
        return (entry[-1] for entries in self._waiting.values() for entry in entries)

    def waits_for(self, kind: str) -> bool:
        """Return whether a job of a kind is waiting that the total reaches for, now or after a while."""
        left_s = self.left_s
        return any(entry[-1].expected_s <= left_s for entry in self._waiting[kind])


def lower_bound_s(jobs: Iterable[tuple[str, float]], machines: dict[str, int]) -> float:
    """Return what no order of (kind, seconds) can beat: the most loaded kind, or the longest job.

    machines: how many there are of each kind.
    """
    sums: dict[str, float] = defaultdict(float)
    longest = 0.0
    for kind, seconds in jobs:
        sums[kind] += seconds
        longest = max(longest, seconds)
    return max([longest, *(total / machines[kind] for kind, total in sums.items())])
