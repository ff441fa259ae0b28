"""What a user asks for, and the task that it stands for on a machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import UsageError
from ..search.fidelity import TIERS, Tier
from ..search.limits import refuse_impossible
from ..search.recipe import Recipe
from ..search.task import Task, device_of
from ..search.workload import Workload
from ..store.places import cache_dir
from .added import additions_of, named_variants
from .catalogue import find_model
from .catalogue.configurations import sized
from .objectives import objective_of
from .prompts import prompts_in
from .scorer import scorer_id, witness_id

if TYPE_CHECKING:
    from ..probes.machine import Machine

WEIGHTS = ("", "hub", "random")


@dataclass(frozen=True)
class Request:
    """What a user asks for. None means what the model's own entry says, or nothing.

    budget_s: wall seconds for everything; most_trials: trials in all; tolerance: the share of the baseline's CLIP
    score that may be lost; fidelity: how close images must be to the baseline's own, as `near`, `close` or `similar`.
    scorer, also: folders of the CLIPModel that judges images, and of further models that look at them.
    prompts: a file with one a line, in the place of the model's own. lora: adapters, each
    `PATH` or `PATH:SCALE`; allow: what may be changed of the model beside, which can be `distilled`; distilled: where
    distilled variants lie, each `NAME=PATH`. weights: `hub` fetches them first where they are not here, `random` makes
    them up; else they must be here. objective: what is to be small; images: for `total`, how many. force: try also what
    cannot fit into memory, as far as that can be predicted. first: recipes to begin with, after the baseline.
    """

    model: str
    budget_s: float | None = None
    most_trials: int | None = None
    tolerance: float = 0.01
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    batch: int | None = None
    frames: int | None = None
    guidance: float | None = None
    prompts: Path | None = None
    scorer: Path | None = None
    also: tuple[Path, ...] = ()
    fidelity: str = ""
    objective: str = "latency"
    images: int | None = None
    lora: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    distilled: tuple[str, ...] = ()
    weights: str = ""
    fresh: bool = False
    force: bool = False
    first: tuple[Recipe, ...] = ()

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant."""
        for name in ("budget_s", "most_trials", "width", "height", "steps", "batch", "frames"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                msg = f"{name} must be more than 0, and {value:g} was given."
                raise UsageError(msg)
        if self.guidance is not None and not 0 <= self.guidance < math.inf:
            msg = f"guidance must be a number from 0 on, and {self.guidance:g} was given."
            raise UsageError(msg)
        if not set(self.allow) <= {"distilled"}:
            msg = f"What may be allowed is distilled, and {', '.join(self.allow)} was given."
            raise UsageError(msg)
        if self.weights not in WEIGHTS:
            msg = f"Weights can be had from {' or '.join(filter(None, WEIGHTS))}, and {self.weights!r} was given."
            raise UsageError(msg)
        if self.weights == "random" and (self.scorer or self.distilled):
            what = "a scorer" if self.scorer else "distilled variants, which only a scorer can judge"
            msg = f"Of made-up weights no quality can be measured: leave out {what}, or --weights random."
            raise UsageError(msg)


def task_of(request: Request, machine: Machine) -> tuple[Task, float]:
    """Return the task that a request stands for on a machine, and its budget in seconds.

    Raises ModelError, UsageError and TechniqueMissingError.
    """
    model = find_model(request.model, "random" if request.weights == "random" else "files")
    asked = {name: value for name in Workload.model_fields if (value := getattr(request, name)) is not None}
    workload = model.workload.model_copy(update=asked)
    refuse_impossible(model.card, workload)
    prompts = prompts_in(request.prompts) if request.prompts else model.prompts
    card = sized(model.card)
    scorer = request.scorer or model.scorer
    if request.distilled and not scorer:
        msg = "Distilled variants make other images, which only a CLIP score can judge: name a model with --scorer."
        raise UsageError(msg)
    added = additions_of(
        card,
        machine.software,
        request.lora,
        named_variants(request.distilled),
        allowed="distilled" in request.allow,
    )
    task = Task(
        card=card,
        machine=machine,
        device=device_of(machine),
        workload=workload,
        prompts=prompts,
        calibration_prompts=model.calibration_prompts,
        scorer=scorer,
        scorer_id=scorer_id(scorer) if scorer else "",
        tolerance=request.tolerance,
        artifacts=cache_dir(make=False) / "artifacts",
        fidelity=_tier(request.fidelity),
        objective=objective_of(request.objective, request.images, workload.batch, device_of(machine)),
        added=added,
        witnesses={witness_id(folder): folder.absolute() for folder in request.also},
    )
    return task, request.budget_s or model.budget_s


def _tier(asked: str) -> Tier | Literal[""]:
    """Return the tier of that name. Raises UsageError where there is none."""
    named: dict[str, Tier | Literal[""]] = {"": "", **{tier: tier for tier in TIERS}}
    if asked not in named:
        msg = f"Fidelity is {', '.join(TIERS[:-1])} or {TIERS[-1]}, and {asked!r} was given."
        raise UsageError(msg)
    return named[asked]
