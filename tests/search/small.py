"""Small pipelines of real architectures, as settings and benches: for knobs that are about more than the UNet."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.probes.model import read_model
from autotune.search.assemble import assemble, calls
from autotune.search.knobs import Bench, Setting
from autotune.search.pipeline import call_pipeline
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.verify.architectures import ARCHITECTURES, Architecture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from autotune.probes.machine import Machine
    from autotune.search.workload import Workload

ARCHITECTURE_OF = {each.name: each for each in ARCHITECTURES}


@dataclass(frozen=True)
class Small:
    """One small pipeline: where it is judged and put together, and its unmodified image."""

    setting: Setting
    bench: Bench

    def image(self, recipe: Recipe = UNMODIFIED, pipe: Any = None) -> np.ndarray:
        """Return what a recipe makes of one prompt and seed."""
        pipe = pipe or assemble(recipe, self.bench)
        arguments = calls(recipe, self.bench)
        made = call_pipeline(pipe, self.bench.workload, "a red circle", 3, output_type="np", **arguments)
        return np.asarray(made, dtype=np.float32)

    def with_workload(self, **changed: Any) -> Small:
        """Return the same for another call of it."""
        workload: Workload = self.setting.workload.model_copy(update=changed)
        setting = Setting(self.setting.machine, self.setting.card, workload, self.setting.device)
        return Small(setting, Bench(**{**vars(self.bench), "workload": workload}))


def bench_of(architecture: Architecture, folder: Path, **workload: int) -> Bench:
    """Write a small pipeline into a folder and return its bench; workload: what is asked of it otherwise."""
    card = read_model(architecture.save(folder / "model"))
    wanted = architecture.workload.model_copy(update={"steps": 2, **workload})
    return Bench(card, wanted, "cpu", folder / "artifacts", "s", ("a red circle",))


def write_small(name: str, folder: Path, machine: Machine) -> Small:
    """Write a small pipeline into a folder and return it."""
    architecture = ARCHITECTURE_OF[name]
    card = read_model(architecture.save(folder / name))
    bench = Bench(
        card=card,
        workload=architecture.workload,
        device="cpu",
        artifacts=folder / "artifacts",
        software=machine.software.key,
        calibration_prompts=("a red circle", "a blue square"),
    )
    return Small(Setting(machine, card, architecture.workload, "cpu"), bench)


class Counted:
    """Counts how often blocks and attention of a denoiser's classes run, whatever hooks stand before them."""

    def __init__(self, denoiser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin with every class that is in the denoiser."""
        self.runs = 0
        for kind in {type(module) for module in denoiser.modules()}:
            if kind.__name__.endswith(("Block", "Attention")):
                monkeypatch.setattr(kind, "forward", self._counting(kind.forward))

    def _counting(self, forward: Any) -> Any:
        @functools.wraps(forward)  # adapters look at what a block takes
        def counting(*args: Any, **kwargs: Any) -> Any:
            self.runs += 1
            return forward(*args, **kwargs)

        return counting

    def during(self) -> Iterator[int]:
        """Yield how many there were since the last time."""
        while True:
            runs, self.runs = self.runs, 0
            yield runs
