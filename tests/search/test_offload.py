"""Offloading in groups, with a CPU in place of the accelerator: every layer's weights come before they are used."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autotune.probes.model import Component
from autotune.search.assemble import assemble, choices_of
from autotune.search.knobs import Setting
from autotune.search.knobs.offload import DISK, GROUPS, OFFLOAD, STREAMS, offload_groups
from autotune.search.pipeline import call_pipeline
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.verify.architectures import ARCHITECTURES, Architecture
from autotune.tests.search.small import bench_of

if TYPE_CHECKING:
    from autotune.probes.machine import Machine

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # transformers warns of what small models lack


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
@pytest.mark.parametrize("level", ["group_block", "group_leaf"])
def test_no_layer_runs_without_its_weights(architecture: Architecture, level: str, tmp_path: Path) -> None:
    """What waits on disk has no weights in memory: a layer that no hook brings them for would compute with garbage."""
    bench = bench_of(architecture, tmp_path)
    plain, hooked = assemble(UNMODIFIED, bench), assemble(UNMODIFIED, bench)
    offload_groups(hooked, GROUPS[level], "cpu", bench.artifacts)
    assert list(bench.artifacts.rglob("*.safetensors"))
    images = [
        np.asarray(call_pipeline(pipe, bench.workload, "a red circle", 3, output_type="np"))
        for pipe in (plain, hooked, hooked)
    ]
    assert np.abs(images[0] - images[1]).max() < 1e-5
    assert np.abs(images[0] - images[2]).max() < 1e-5


def test_each_choice_is_what_its_name_says() -> None:
    assert set(OFFLOAD.choices) == {"none", "model", "sequential", *GROUPS}
    assert all(("block" in name) is (how["offload_type"] == "block_level") for name, how in GROUPS.items())
    assert {name for name in GROUPS if name.endswith(("stream", "record", "low_ram"))} == STREAMS


def test_streams_want_an_accelerator_that_has_them(tmp_path: Path) -> None:
    """diffusers says so itself, so that a choice with streams cannot be taken for one that was run here."""
    bench = bench_of(ARCHITECTURES[0], tmp_path)
    for name in sorted(STREAMS):
        with pytest.raises(ValueError, match="streams"):
            OFFLOAD.apply(assemble(UNMODIFIED, bench), choices_of(Recipe(turned={"offload": name})), bench)


def test_a_class_that_cannot_is_refused(machine: Machine, tmp_path: Path) -> None:
    bench = bench_of(ARCHITECTURES[0], tmp_path)
    setting = Setting(machine, bench.card, bench.workload, "cuda")
    assert all(OFFLOAD.refuses(choice, setting) is None for choice in OFFLOAD.choices[1:])
    for name, class_name in (("transformer", "HunyuanDiT2DModel"), ("vae", "VQModel")):
        part = Component(name=name, library="diffusers", class_name=class_name, parameters=1, bytes=4)
        card = bench.card.model_copy(update={"components": (*bench.card.components, part)})
        cannot = replace(setting, card=card)
        assert class_name in (OFFLOAD.refuses("group_leaf", cannot) or "")
        assert OFFLOAD.refuses("model", cannot) is None


def test_what_a_killed_process_left_on_disk_is_removed(tmp_path: Path) -> None:
    bench = bench_of(ARCHITECTURES[0], tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = bench.artifacts / "offload" / f"{gone.pid}-left"
    left.mkdir(parents=True)
    OFFLOAD.apply(assemble(UNMODIFIED, bench), choices_of(Recipe(turned={"offload": DISK})), bench)
    rooms = list((bench.artifacts / "offload").iterdir())
    assert [room.name.partition("-")[0] for room in rooms] == [str(os.getpid())]
    assert {each.name for each in rooms[0].iterdir()} == {"unet", "vae", "text_encoder"}
