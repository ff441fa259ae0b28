"""What a lab wants to know: `lab.toml` as values, or a sentence that says what is wrong in it."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from ...errors import UsageError
from ...value import Value, key_of
from ..cli.amounts import parse_budget, parse_share, parse_size

Objective = Literal["latency", "throughput", "energy"]
"""What is to be small, as `autotune --objective` takes it; each is searched for by itself."""

_Price = Annotated[float, BeforeValidator(lambda said: float(said) if isinstance(said, int) else said), Field(ge=0)]


def _said(text: object) -> object:
    """Return a tuple for a list, which is all that TOML has."""
    return tuple(text) if isinstance(text, list) else text


def _that(parses: Callable[[str], object]) -> AfterValidator:
    """Return what accepts nothing, and what can be parsed."""

    def check(text: str) -> str:
        if text:
            try:
                parses(text)
            except UsageError as error:
                raise ValueError(str(error).rstrip(".")) from error
        return text

    return AfterValidator(check)


def _time(text: str) -> None:
    if parse_budget(text)[0] is None:
        msg = f"a total is a time such as 8h, and {text!r} was given"
        raise UsageError(msg)


Budget = Annotated[str, _that(parse_budget)]
Share = Annotated[str, _that(parse_share)]
Names = Annotated[tuple[str, ...], BeforeValidator(_said)]


class WantedModel(Value):
    """A model of the matrix, as `autotune --model NAME` takes it on the machines themselves.

    weights: `hub` fetches them, `random` makes them up. scorer, also: the folders of a CLIPModel that judges images and
    of further models that look at them, the same on every machine.
    priority: the higher, the earlier. Budget and tolerance are the lab's where they are empty.
    """

    name: str = Field(min_length=1)
    weights: Literal["", "hub", "random"] = ""
    scorer: str = ""
    also: Names = ()
    priority: int = 0
    budget: Budget = ""
    tolerance: Share = ""


class WantedWorkload(Value):
    """How the models are called; what is None is the model's own. models: only these, all where there are none."""

    size: Annotated[str, _that(parse_size)] = ""
    steps: int | None = Field(default=None, ge=1)
    batch: int | None = Field(default=None, ge=1)
    frames: int | None = Field(default=None, ge=1)
    guidance: _Price | None = None
    models: Names = ()
    priority: int = 0

    def __str__(self) -> str:
        """Say it as it was asked: `512x512, 4 steps`, or `its own calls`."""
        parts = [self.size] if self.size else []
        parts += [f"{count} {unit}" for count, unit in ((self.steps, "steps"), (self.frames, "frames")) if count]
        parts += [f"batch {self.batch}"] if self.batch else []
        parts += [f"guidance {self.guidance:g}"] if self.guidance is not None else []
        return ", ".join(parts) or "its own calls"


class WantedMachines(Value):
    """Machines, chosen by their labels, accelerator or name; all that is said must hold.

    every_kind_once: one machine of each kind will do; else all of them share the work of their kind.
    price_per_hour: of one machine, in whatever money the lab counts.
    """

    label: dict[str, str] = {}
    accelerator: str = ""
    name: str = ""
    every_kind_once: bool = False
    price_per_hour: _Price | None = None
    priority: int = 0

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if not (self.label or self.accelerator or self.name or self.every_kind_once):
            msg = "machines are chosen by label, accelerator, name or every_kind_once, and nothing of it was said"
            raise ValueError(msg)
        return self

    def __str__(self) -> str:
        """Say which are meant: `label room=b, accelerator H100`."""
        parts = [f"label {name}={said}" for name, said in self.label.items()]
        parts += [f"accelerator {self.accelerator}"] if self.accelerator else []
        parts += [f"name {self.name}"] if self.name else []
        return ", ".join(parts) or "every kind"


class Lab(Value):
    """A sweep: every model with every workload on every kind of machine that was chosen.

    budget: of one job; total_budget: of machine time in all. retries: how often a job is tried again after what can
    pass, such as a lost machine.
    """

    name: str = Field(min_length=1)
    model: Annotated[tuple[WantedModel, ...], BeforeValidator(_said)] = Field(min_length=1)
    workload: Annotated[tuple[WantedWorkload, ...], BeforeValidator(_said)] = (WantedWorkload(),)
    machine: Annotated[tuple[WantedMachines, ...], BeforeValidator(_said)] = Field(min_length=1)
    objectives: Annotated[tuple[Objective, ...], BeforeValidator(_said)] = Field(default=("latency",), min_length=1)
    budget: Annotated[Budget, Field(min_length=1)] = "20m"
    total_budget: Annotated[str, _that(_time)] = ""
    tolerance: Annotated[Share, Field(min_length=1)] = "1%"
    retries: int = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _names_meet(self) -> Self:
        known = {model.name for model in self.model}
        if len(known) < len(self.model):
            msg = "a model is named twice"
            raise ValueError(msg)
        unknown = {name for workload in self.workload for name in workload.models} - known
        if unknown:
            msg = f"a workload is for {', '.join(sorted(unknown))}, which is no model of this lab"
            raise ValueError(msg)
        return self

    @property
    def key(self) -> str:
        """A short stable key: the same sweep is gone on with, a changed one is another."""
        return key_of(self.model_dump(mode="json"))

    @property
    def total_s(self) -> float:
        """How much machine time there is in all, in seconds."""
        return parse_budget(self.total_budget)[0] or math.inf if self.total_budget else math.inf


def read_lab(file: Path) -> Lab:
    """Return what a file wants. Raises UsageError with one sentence on what is wrong, and where."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file} cannot be read ({error})."
        raise UsageError(msg) from error
    except tomllib.TOMLDecodeError as error:
        msg = f"{file} is no TOML: {error}."
        raise UsageError(msg) from error
    try:
        return Lab.model_validate(content)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(part) for part in wrong["loc"] if not str(part).startswith(("function", "literal")))
        msg = f"{file}: {where + ': ' if where else ''}{wrong['msg'].removeprefix('Value error, ')}."
        raise UsageError(msg) from error
