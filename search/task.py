"""What is to be tuned: one model on one machine for one workload, under one constraint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import UsageError
from ..probes.machine import Machine
from ..probes.model import ModelCard
from ..value import key_of
from .additions import NOTHING_ADDED, Additions
from .fidelity import Tier
from .knobs import Setting
from .objective import LATENCY, Objective
from .plan import Scope
from .recipe import Recipe
from .trial.order import Order
from .workload import Workload

FIRST_SEED = 1000
CONTEXT_BYTES = 512 * 2**20
"""What a process takes of an accelerator beside what torch counts: the driver's context and libraries' own buffers."""
FEWEST_PROMPTS = 4


@dataclass(frozen=True)
class Task:
    """Everything that a search needs to know, and nothing about how it goes.

    prompts: at least four; the first half judges every recipe, all of them the last candidates.
    scorer: the folder of a CLIPModel, None where quality cannot be measured.
    tolerance: the share of the baseline's CLIP score that may be lost.
    fidelity: how close images must be to the baseline's own; empty where that is reported only.
    witnesses: further models that look at the images, by their names, and the folders that they lie in.
    """

    card: ModelCard
    machine: Machine
    device: str
    workload: Workload
    prompts: tuple[str, ...]
    calibration_prompts: tuple[str, ...]
    scorer: Path | None
    scorer_id: str
    tolerance: float
    artifacts: Path
    objective: Objective = LATENCY
    fidelity: Tier | Literal[""] = ""
    added: Additions = NOTHING_ADDED
    witnesses: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        if len(self.prompts) < FEWEST_PROMPTS:
            msg = f"At least {FEWEST_PROMPTS} prompts are needed to judge quality, and {len(self.prompts)} were given."
            raise UsageError(msg)
        if not 0 < self.tolerance < 1:
            msg = f"The tolerance is a share of the score between 0 and 1, such as 0.01; {self.tolerance:g} was given."
            raise UsageError(msg)
        if self.fidelity and not self.scorer:
            msg = "Fidelity is judged beside the CLIP score, which nothing here measures: name a model with --scorer."
            raise UsageError(msg)
        if self.witnesses and not self.scorer:
            msg = "Other models look at images beside the one that scores them: name that with --scorer."
            raise UsageError(msg)
        if self.fidelity and self.added.distilled_allowed:
            msg = "Distilled variants make other images than the baseline: leave out --fidelity, or --allow distilled."
            raise UsageError(msg)
        if self.made_up and self.scorer:
            msg = "Of made-up weights no quality can be measured: leave out the scorer, or give a folder with weights."
            raise UsageError(msg)

    @property
    def compares_images(self) -> bool:
        """Whether a recipe cannot be judged without the baseline's own images beside its own."""
        return bool(self.fidelity or self.witnesses)

    @property
    def made_up(self) -> bool:
        """Whether the weights are made up: latency and memory are real then, and images are those of no model."""
        return self.card.weights == "random"

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed a prompt: the same for every recipe, so that images can be compared in pairs."""
        return tuple(range(FIRST_SEED, FIRST_SEED + len(self.prompts)))

    @property
    def screening(self) -> int:
        """How many prompts judge a recipe before the last round."""
        return len(self.prompts) // 2

    @property
    def setting(self) -> Setting:
        """What the knobs are asked about."""
        return Setting(self.machine, self.card, self.workload, self.device, self.added)

    @property
    def scope(self) -> Scope:
        """For what the measurements of this task hold."""
        return Scope(
            model=self.card.name,
            revision=self.card.revision,
            machine=self.machine.fingerprint,
            software=self.machine.software.key,
            device=self.device,
            workload=self.workload,
            scorer=self.scorer_id,
            prompts=key_of(list(self.prompts)),
            tolerance=self.tolerance,
            pipeline_class=self.card.pipeline_class,
            adapters=self.added.adapter_keys,
            distilled=self.added.distilled_keys,
            weights="random" if self.made_up else "",
            architecture=self.card.architecture if self.made_up else "",
            objective=self.objective.key,
            fidelity=self.fidelity,
            witnesses=tuple(sorted(self.witnesses)),
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """What every trial imports, so that its time and its memory are no recipe's."""
        classes = [f"{component.library}:{component.class_name}" for component in self.card.components]
        openvino = ["openvino"] if "openvino" in self.machine.software.versions else []
        return ("torch", "PIL.Image", f"diffusers:{self.card.pipeline_class}", *classes, *openvino)

    @property
    def device_limit_bytes(self) -> int | None:
        """What a trial may take of the accelerator's own memory, so that what others hold there is not in danger.

        None where there is no such memory, or nobody knows how much of it is free.
        """
        accelerators = self.machine.accelerators
        if self.device == "cpu" or not accelerators or accelerators[0].unified_memory:
            return None
        free_bytes = accelerators[0].free_bytes
        return None if free_bytes is None else max(0, free_bytes - CONTEXT_BYTES)

    def order(self, recipe: Recipe, compiled: Path) -> Order:
        """Return what a trial process is told to do for `recipe`; compiled: where its inductor may leave things."""
        return Order(
            recipe=recipe,
            card=self.card,
            workload=self.workload,
            device=self.device,
            threads=self.machine.cpu.allowed_cores,
            artifacts=str(self.artifacts),
            compiled=str(compiled),
            software=self.machine.software.key,
            machine=self.machine.fingerprint,
            calibration_prompts=self.calibration_prompts,
            added=self.added,
            device_limit_bytes=self.device_limit_bytes,
        )


def device_of(machine: Machine) -> str:
    """Return what torch calls the device that pipelines run on: the first accelerator, or the CPU."""
    kinds = [accelerator.kind for accelerator in machine.accelerators]
    return {"cuda": "cuda", "rocm": "cuda", "xpu": "xpu", "mps": "mps"}[kinds[0]] if kinds else "cpu"
