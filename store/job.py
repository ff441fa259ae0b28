"""A job of the daemon: work on this machine that was asked for, as it stands."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..value import Value

Kind = Literal["tune", "verify", "recheck"]
State = Literal["waiting", "running", "paused", "done", "stopped", "cancelled", "failed"]
Command = Literal["pause", "resume", "stop", "cancel"]

OVER: frozenset[State] = frozenset({"done", "stopped", "cancelled", "failed"})
"""The states that no job leaves again."""


class Order(Value):
    """What is to be done. None, 0 and nothing mean what the model's own entry says, or what the command does by itself.

    `tune` measures `model` for calls of this size and so on; `recheck` measures again the plans of the search that
    gave `plan`; `verify` checks what knobs do on small pipelines of these `architectures`. budget_s: wall seconds for
    all of it; most_trials: trials in all. weights: `hub` fetches them first, `random` makes them up. idle_only: wait
    while other programs use the GPU or the CPU.
    """

    kind: Kind = "tune"
    model: str = ""
    plan: str = ""
    architectures: tuple[str, ...] = Field(default=(), strict=False)
    width: int | None = Field(default=None, ge=8, le=65536)
    height: int | None = Field(default=None, ge=8, le=65536)
    steps: int | None = Field(default=None, ge=1, le=100_000)
    guidance: float | None = Field(default=None, ge=0, le=1000)
    batch: int | None = Field(default=None, ge=1, le=100_000)
    frames: int | None = Field(default=None, ge=1, le=100_000)
    budget_s: float | None = Field(default=None, gt=0, le=86_400)
    most_trials: int | None = Field(default=None, ge=1, le=100_000)
    tolerance: float = Field(default=0.01, gt=0, lt=1)
    weights: Literal["", "hub", "random"] = ""
    fresh: bool = False
    force: bool = False
    idle_only: bool = False


class Job(Value):
    """A job. Times are UTC, ISO 8601, and empty where it did not come so far.

    key: what all jobs for the same order have in common. wanted: what a running job was told, until it has done it.
    detail: why it is in its state, for people. run: the run of the store that it keeps its trials in, `trials` how many
    of them there are. spent_s: how long it has run, in all sittings together; budget_s: how long it may, 0 where that
    is not known yet. pid, born_s: the process that works on it and when that was started by the system's clock, 0
    where there is none.
    """

    id: str
    key: str
    order: Order
    state: State = "waiting"
    wanted: Command | Literal[""] = ""
    detail: str = ""
    run: str = ""
    trials: int = 0
    spent_s: float = 0.0
    budget_s: float = 0.0
    created_at: str
    started_at: str = ""
    ended_at: str = ""
    pid: int = 0
    born_s: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in OVER
