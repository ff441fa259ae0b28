"""A job of the daemon: work on this machine that was asked for, as it stands."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..value import Value

Kind = Literal["tune", "verify", "recheck", "spot"]
State = Literal["waiting", "running", "paused", "done", "stopped", "cancelled", "failed"]
Command = Literal["pause", "resume", "stop", "cancel"]

OVER: frozenset[State] = frozenset({"done", "stopped", "cancelled", "failed"})
"""The states that no job leaves again."""


class Order(Value):
    """What is to be done. None, 0 and nothing mean what the model's own entry says, or what the command does by itself.

    `tune` measures `model` for calls of this size and so on; `recheck` measures again the plans of the search that
    gave `plan`; `verify` checks what knobs do on small pipelines of these `architectures`; `spot` makes blind pairs of
    images of `model`: by `plan` (the newest where none is named), or by the recipe that `turns` stand for, such as
    `quantization=bnb_nf4`. prompts: its own where there are none; pairs: how many to judge. budget_s: wall seconds for
    all of it; most_trials: trials in all. weights: `hub` fetches them first, `random` makes them up. idle_only: wait
    while other programs use the GPU or the CPU.
    """

    kind: Kind = "tune"
    model: str = ""
    plan: str = ""
    architectures: tuple[str, ...] = Field(default=(), strict=False)
    turns: tuple[Annotated[str, Field(max_length=200)], ...] = Field(default=(), strict=False, max_length=40)
    prompts: tuple[Annotated[str, Field(max_length=2000)], ...] = Field(default=(), strict=False, max_length=200)
    pairs: int | None = Field(default=None, ge=4, le=400)
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
    of them there are (or images, or checks). blind: the set of blind pairs that came of it. spent_s: how long it has
    run, in all sittings together; budget_s: how long it may, 0 where that is not known yet. pid, born_s: the process
    that works on it and when that was started by the system's clock, 0 where there is none.
    """

    id: str
    key: str
    order: Order
    state: State = "waiting"
    wanted: Command | Literal[""] = ""
    detail: str = ""
    run: str = ""
    blind: str = ""
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
