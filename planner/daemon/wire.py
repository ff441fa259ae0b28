"""What goes over HTTP beside the answer itself, in both directions."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ...probes.machine import Machine
from ...search.plan import SCHEMA_VERSION, Plan
from ...search.recipe import Choice, Recipe
from ...search.workload import Workload
from ...store.outcome import Ending
from ...value import Value
from ..choose import Wish

ANSWER_LIMIT_BYTES = 2**20
MOST_DETAIL = 300
MODEL = r"^[A-Za-z0-9._/@-]{1,200}$"
ADAPTER = r"[0-9a-f]{16}:-?[0-9.e+-]{1,30}"
VARIANT = r"[a-z_]{1,20}@[0-9a-f:e.+-]{1,60}"
UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9}


class Refusal(Value):
    """Why there is no answer: the name of the error in `autotune.errors`, a sentence, and near model names."""

    schema_version: int = SCHEMA_VERSION
    error: str
    message: str
    near: tuple[str, ...] = ()


class Welcome(Value):
    """What `/` says."""

    schema_version: int = SCHEMA_VERSION
    name: str = "autotune"
    version: str
    routes: tuple[str, ...]


class Door(Value):
    """A code that a browser exchanges for the token, once and soon."""

    schema_version: int = SCHEMA_VERSION
    code: str


class Opened(Value):
    """What a code was exchanged for."""

    schema_version: int = SCHEMA_VERSION
    token: str


class Health(Value):
    """That the daemon lives, and in sentences what keeps it from answering."""

    schema_version: int = SCHEMA_VERSION
    name: str = "autotune"
    version: str
    pid: int
    uptime_s: float
    problems: tuple[str, ...]


class MachineNow(Value):
    """The machine as it was probed `age_s` seconds ago, and what is free on each device at this moment."""

    schema_version: int = SCHEMA_VERSION
    fingerprint: str
    software: str
    age_s: float
    free_bytes: dict[str, int]
    machine: Machine


class Prediction(Value):
    """The plan to begin with where none was measured, and how one is measured. Its fields mean what an answer's do.

    `safer` is a recipe that is predicted to need less, `asked` says that nothing was measured, and what to run.
    `job` is what to post to `/v1/jobs` to have it run.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    known: Literal["predicted"] = "predicted"
    reason: str
    device: str
    workload: Workload
    fits: bool
    needs_bytes: int
    free_bytes: int
    safer: Recipe | None = None
    asked: str
    call: dict[str, int | float]
    apply: dict[str, Choice]
    environment: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    job: dict[str, str | int | float] = {}


class PlanLine(Value):
    """A plan in short."""

    id: str
    model: str
    recipe: str
    workload: Workload
    device: str
    machine: str
    latency_ms: float
    speedup: float
    peak_memory_bytes: int
    created_at: str
    adapters: tuple[str, ...] = ()
    distilled: tuple[str, ...] = ()


class PlanList(Value):
    """Every plan that there is, those of one model together."""

    schema_version: int = SCHEMA_VERSION
    plans: tuple[PlanLine, ...]


class Report(Value):
    """What became of a call with a plan. Only `outcome` must be said; the rest as an `Outcome` of the store has it."""

    outcome: Ending
    latency_ms: float | None = Field(default=None, gt=0, le=1e9)
    peak_bytes: int | None = Field(default=None, ge=0, le=2**50)
    free_bytes: int | None = Field(default=None, ge=0, le=2**50)
    detail: str = Field(default="", max_length=MOST_DETAIL)


class Reported(Value):
    """What follows from a report: why the plan is given no more (or nothing), and what it is now taken to need."""

    schema_version: int = SCHEMA_VERSION
    id: str
    plan_id: str
    demoted: str = ""
    needs_bytes: int


def line_of(plan: Plan) -> PlanLine:
    """Return a plan in short."""
    return PlanLine(
        id=plan.id,
        model=plan.scope.model,
        recipe=plan.recipe.key,
        workload=plan.scope.workload,
        device=plan.scope.device,
        machine=plan.scope.machine,
        latency_ms=plan.latency.median_ms,
        speedup=plan.speedup,
        peak_memory_bytes=plan.peak_memory_bytes,
        created_at=plan.created_at,
        adapters=plan.scope.adapters,
        distilled=plan.scope.distilled,
    )


def bytes_of(text: str) -> int:
    """Return the number of bytes that "3221225472", "3GiB" or "3.5GB" say; raises ValueError for anything else."""
    said = re.fullmatch(r"([0-9]{1,15})(\.[0-9]{1,3})?([A-Za-z]*)", text)
    if not said or said[3] not in UNITS or (said[2] and not said[3]):
        msg = "a number of bytes is meant, such as 3221225472 or 3GiB"
        raise ValueError(msg)
    return int(float(said[1] + (said[2] or "")) * UNITS[said[3]]) if said[2] else int(said[1]) * UNITS[said[3]]


def _digits(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,9}", value):
        msg = "a whole number is meant, in digits alone"
        raise ValueError(msg)
    return value


def _decimal(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,20})?", value):
        msg = "a number is meant, such as 7.5"
        raise ValueError(msg)
    return value


def _no_climbing(value: str) -> str:
    if ".." in value:
        msg = "two dots in a row are in no model's name"
        raise ValueError(msg)
    return value


def _memory(value: str) -> str:
    bytes_of(value)
    return value


Digits = Annotated[int, BeforeValidator(_digits)]
Decimal = Annotated[float, BeforeValidator(_decimal)]


class Question(Value):
    """What is asked about a plan; `revision`, `max_memory_bytes`, `min_quality` and `device` as for `choose`.

    adapters: those that the model is used with, as a scope names them; a plan for others is none. distilled: the
    variants that a plan may have.
    """

    model: str
    wish: Wish = Wish()
    revision: str | None = None
    max_memory_bytes: int | None = None
    min_quality: float | None = None
    device: str | None = None
    adapters: tuple[str, ...] = ()
    distilled: tuple[str, ...] = ()


class PlanQuery(BaseModel):
    """The parameters of `/v1/plan`. Anything else is refused; only `model` must be given."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: Annotated[str, Field(pattern=MODEL), AfterValidator(_no_climbing)]
    width: Digits | None = Field(default=None, ge=8, le=65536)
    height: Digits | None = Field(default=None, ge=8, le=65536)
    steps: Digits | None = Field(default=None, ge=1, le=100_000)
    guidance: Decimal | None = Field(default=None, ge=0, le=1000)
    batch: Digits | None = Field(default=None, ge=1, le=100_000)
    frames: Digits | None = Field(default=None, ge=1, le=100_000)
    max_memory: Annotated[str, Field(max_length=24), AfterValidator(_memory)] | None = None
    min_quality: Decimal | None = Field(default=None, ge=0, le=2)
    device: Annotated[str, Field(pattern=r"^[a-z]{1,10}(:[0-9]{1,3})?$")] | None = None
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = None
    adapters: Annotated[str, Field(pattern=f"^{ADAPTER}(,{ADAPTER}){{0,31}}$")] | None = None
    distilled: Annotated[str, Field(pattern=f"^{VARIANT}(,{VARIANT}){{0,7}}$")] | None = None

    @property
    def question(self) -> Question:
        """What is meant by it."""
        return Question(
            model=self.model,
            wish=Wish(**self.model_dump(include=set(Wish.model_fields))),
            revision=self.revision,
            max_memory_bytes=None if self.max_memory is None else bytes_of(self.max_memory),
            min_quality=self.min_quality,
            device=self.device,
            adapters=tuple(self.adapters.split(",")) if self.adapters else (),
            distilled=tuple(self.distilled.split(",")) if self.distilled else (),
        )
