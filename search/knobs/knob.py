"""What a knob is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...probes.attention import attention_kernels
from ...probes.machine import Machine
from ...probes.model import ModelCard
from ...probes.software import Software
from ..additions import NOTHING_ADDED, Additions
from ..recipe import Choice
from ..workload import Workload

Choices = Mapping[str, Choice]
"""A recipe with every knob in it, turned or not."""


@dataclass(frozen=True)
class Setting:
    """What a choice is judged by before anything runs: this machine, this model and what is added, this workload.

    kernels: says why each attention kernel cannot be used on a device. It takes seconds and is asked only for a
    denoiser that has the choice.
    """

    machine: Machine
    card: ModelCard
    workload: Workload
    device: str
    added: Additions = NOTHING_ADDED
    kernels: Callable[[str], Mapping[str, str]] = attention_kernels

    def lacks(self, library: str, extra: str) -> str | None:
        """Return the sentence that says that `library` is not installed, None where it is."""
        if library in self.machine.software.versions:
            return None
        return f"needs {library}, which is not installed: pip install 'autotune-diffusers[{extra}]'"

    def incapable(self, capability: tuple[int, int]) -> str | None:
        """Return the sentence that says that this is no NVIDIA GPU of that compute capability, None where it is."""
        wanted = f"needs an NVIDIA GPU of compute capability {capability[0]}.{capability[1]}"
        if self.device != "cuda":
            return f"{wanted}, and this is {self.device}"
        for accelerator in self.machine.accelerators:
            found = accelerator.compute_capability
            if found and found < capability:
                return f"{wanted}; {accelerator.name} has {found[0]}.{found[1]}"
        return None


@dataclass(frozen=True)
class Bench:
    """Where a pipeline is put together: what a knob may use while it is turned.

    `artifacts` is a folder for what takes long to make and can be used again, such as converted models;
    `software` is the key of the library versions, without which an artifact is worth nothing, and `machine` the
    fingerprint of this one, for which code is compiled.
    """

    card: ModelCard
    workload: Workload
    device: str
    artifacts: Path
    software: str
    calibration_prompts: tuple[str, ...]
    machine: str = ""
    added: Additions = NOTHING_ADDED


def _accepts(choice: Choice, setting: Setting) -> str | None:
    del choice, setting
    return None


def _adds_nothing(choices: Choices, bench: Bench) -> dict[str, Any]:
    del choices, bench
    return {}


def _same(choices: Choices, bench: Bench) -> Bench:
    del choices
    return bench


def _leaves(pipe: Any, choices: Choices, bench: Bench) -> None:
    del pipe, choices, bench


def _starts_anyhow(choice: Choice, software: Software) -> dict[str, str]:
    del choice, software
    return {}


@dataclass(frozen=True)
class Knob:
    """One thing that can be turned. Its default leaves the pipeline exactly as diffusers made it.

    `refuses` says in words why a choice cannot be had in a setting. `prepares` gives the bench that this and every
    other knob is then turned on: with another component on the card, or another workload. `loads` gives arguments for
    `DiffusionPipeline.from_pretrained`, and under `quant_mapping` how each component is quantized while it loads;
    `apply` works on the loaded pipeline, `calls` gives keyword arguments
    for every call of it; all are given all choices, and are only asked when the knob is turned. `builds` makes
    artifacts ahead, in a process of its own, so that neither their time nor their memory is counted as the
    pipeline's. `environment` is what the process must be started with, because it cannot be turned later: trials of
    it are forked from a process that was. `lossy` are the choices that can change the image beyond rounding. With one
    that has `uneven_steps` some denoising steps take longer than others, so that the first tell nothing of the rest.
    """

    name: str
    says: str
    choices: tuple[Choice, ...]
    default: Choice
    source: str
    lossy: frozenset[Choice] = frozenset()
    uneven_steps: bool = False
    refuses: Callable[[Choice, Setting], str | None] = field(default=_accepts)
    prepares: Callable[[Choices, Bench], Bench] = field(default=_same)
    loads: Callable[[Choices, Bench], dict[str, Any]] = field(default=_adds_nothing)
    apply: Callable[[Any, Choices, Bench], None] = field(default=_leaves)
    calls: Callable[[Choices, Bench], dict[str, Any]] = field(default=_adds_nothing)
    builds: Callable[[Choices, Bench], None] | None = None
    environment: Callable[[Choice, Software], dict[str, str]] = field(default=_starts_anyhow)

    def __post_init__(self) -> None:
        """Refuse a knob that contradicts itself."""
        if self.default not in self.choices or not self.lossy <= set(self.choices) or self.default in self.lossy:
            msg = f"Knob {self.name}: the default and the lossy choices must be among {self.choices}, and differ."
            raise ValueError(msg)
