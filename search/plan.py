"""A plan: a recipe with its evidence, its scope and where it comes from. The product of the whole."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Literal

from pydantic import Field

from ..value import Value, key_of
from .measured import Latency, Quality
from .recipe import UNMODIFIED, Recipe
from .workload import Workload

SCHEMA_VERSION = 1


_ADDED = ("adapters", "distilled", "weights", "architecture", "objective", "fidelity", "witnesses")


class Scope(Value):
    """For what a measurement holds. Anything else that matters must be in here.

    `machine` and `software` are the fingerprints of the probes, `revision` that of the model's files,
    `scorer` that of the scoring model (empty where quality cannot be measured), `prompts` that of the
    prompt set, `tolerance` the share of the baseline's score that may be lost. `adapters` names those that are loaded
    into the baseline and into every trial, by digest and scale, and `distilled` the variants that were allowed.
    `weights` is `random` where they were made up, and `architecture` then the digest by which the model is known.
    `objective` says what was to be small, empty where that was the latency, and `fidelity` how close images had to be
    to the baseline's own, empty where nothing was asked. `witnesses` names the further models that looked at images.
    `pipeline_class` says how the model is called; the revision decides it, so it is no part of the key, and older
    rows have an empty one.
    """

    model: str
    revision: str
    machine: str
    software: str
    device: str
    workload: Workload
    scorer: str
    prompts: str
    tolerance: float
    adapters: tuple[str, ...] = ()
    distilled: tuple[str, ...] = ()
    weights: str = ""
    architecture: str = ""
    objective: str = ""
    fidelity: str = ""
    witnesses: tuple[str, ...] = ()
    pipeline_class: str = ""

    @property
    def key(self) -> str:
        """A short stable key; of a scope without additions it is what it was before there were any."""
        content = self.model_dump(mode="json", exclude={"pipeline_class"})
        return key_of({name: said for name, said in content.items() if said or name not in _ADDED})

    def serves(self, adapters: Collection[str], distilled: Collection[str]) -> bool:
        """Return whether it holds for just these adapters, and for no variant but those that are allowed."""
        return sorted(self.adapters) == sorted(adapters) and set(self.distilled) <= set(distilled)


class Gain(Value):
    """What one knob of a plan bought: how many times slower the plan is without it, measured where it can be."""

    knob: str
    choice: str
    slowdown_without: float | None = None
    note: str = ""


class Plan(Value):
    """A recipe that may be served, with everything that a client needs to believe and to apply it.

    `speedup` is the ratio of the baseline's latency to the plan's (of its cost, where the objective is another),
    `speedup_low` and `speedup_high` its
    95 % interval, from calls interleaved with the baseline's where `raced` is true. `baseline` is the unmodified
    pipeline, or what came in its place because that needs more memory than there is. `notes` are sentences on how far
    the figures can be trusted: what it is tied with, and what disturbed the machine.
    """

    schema_version: int = SCHEMA_VERSION
    scope: Scope
    recipe: Recipe
    latency: Latency
    baseline: Recipe = UNMODIFIED
    baseline_latency: Latency
    speedup: float = Field(gt=0)
    speedup_low: float = Field(gt=0)
    speedup_high: float = Field(gt=0)
    raced: bool
    load_s: float
    cold_s: float
    peak_memory_bytes: int
    baseline_peak_memory_bytes: int
    quality: Quality | None
    gains: tuple[Gain, ...] = ()
    notes: tuple[str, ...] = ()
    known: Literal["measured", "borrowed", "predicted"] = "measured"
    run: str
    created_at: str

    @cached_property
    def id(self) -> str:
        """The plan's name: the same recipe in the same scope and run has the same one."""
        return key_of([self.scope.key, self.recipe.key, self.run])
