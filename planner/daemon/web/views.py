"""What the pages show beside an account, as values: their JSON twins are these."""

from __future__ import annotations

from ....probes.machine import Machine
from ....search.measured import Trial
from ....search.plan import SCHEMA_VERSION, Plan
from ....store.album import Picture
from ....value import Value
from ...pages.tally import Dot
from ...spot.verdict import Verdict


class ModelLine(Value):
    """A model that was tuned, in short: its newest run, and the plan that came of it (or None)."""

    model: str
    runs: int
    trials: int
    state: str
    started_at: str
    reason: str
    plan: Plan | None


class User(Value):
    """A process that has much memory."""

    pid: int
    name: str
    owner: str
    resident_bytes: int


class Device(Value):
    """A device of this machine by torch's name for it, what it is, and what is free on it now."""

    name: str
    product: str
    total_bytes: int
    free_bytes: int


class Now(Value):
    """The machine at this moment: its devices, and the processes that have most of its memory."""

    schema_version: int = SCHEMA_VERSION
    devices: tuple[Device, ...]
    users: tuple[User, ...]


class Overview(Value):
    """All models that were tuned here, that which was tuned last first."""

    schema_version: int = SCHEMA_VERSION
    now: Now | None
    models: tuple[ModelLine, ...]


class PlanPage(Value):
    """A plan, and all that speaks for and against it.

    `stale_reasons` are as an answer has them, `demoted` is what apps have said against it, and `eyes` what people saw
    of it in blind pairs. `machine` is that of its run. `number` is that of its trial.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    plan: Plan
    number: int | None
    stale_reasons: tuple[str, ...]
    demoted: str
    eyes: Verdict | None
    machine: Machine | None


class TrialPage(Value):
    """A trial, with the images that are kept of it and of its baseline."""

    schema_version: int = SCHEMA_VERSION
    model: str
    run: str
    dot: Dot
    trial: Trial
    baseline: str
    pictures: tuple[Picture, ...]
    baseline_pictures: tuple[Picture, ...]


class Past(Value):
    """A run in a history: what it ran with, what has changed since the run before, and what came of it."""

    run: str
    started_at: str
    state: str
    reason: str
    trials: int
    workload: str
    device: str
    machine: Machine | None
    changes: tuple[str, ...]
    plan: Plan | None


class History(Value):
    """The runs of a model, the newest first."""

    schema_version: int = SCHEMA_VERSION
    model: str
    runs: tuple[Past, ...]
