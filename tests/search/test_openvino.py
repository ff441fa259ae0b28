"""What stands in a pipeline where OpenVINO computes: a shell without weights, but with what pipelines read in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autotune.search.assemble import choices_of
from autotune.search.knobs.openvino import loads
from autotune.search.recipe import Recipe

from .small import Small, write_small

if TYPE_CHECKING:
    from autotune.probes.machine import Machine

# torch and OpenVINO warn of each other's ways, which the processes of trials do not turn into errors
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

OPENVINO = Recipe(turned={"compile": "openvino"})


@pytest.fixture(scope="module")
def ltx(tmp_path_factory: pytest.TempPathFactory, machine: Machine) -> Small:
    """LTX, whose VAE keeps the mean of its latents beside its layers, with a mean that no constructor makes."""
    from safetensors.torch import load_file, save_file

    small = write_small("ltx", tmp_path_factory.mktemp("made"), machine)
    [file] = Path(small.bench.card.folder, "vae").glob("*.safetensors")
    tensors = load_file(file)
    tensors["latents_mean"] = tensors["latents_mean"] + 0.25
    save_file(tensors, file, metadata={"format": "pt"})
    return small


def test_what_pipelines_read_in_a_shell_is_that_of_the_files(ltx: Small) -> None:
    vae = loads(choices_of(OPENVINO), ltx.bench)["vae"]
    assert {each.device.type for each in vae.parameters()} == {"meta"}
    assert vae.latents_mean.tolist() == [0.25] * len(vae.latents_mean)
    assert vae.latents_std.tolist() == [1.0] * len(vae.latents_std)


def test_the_image_is_that_of_torch(ltx: Small) -> None:
    apart = np.abs(ltx.image(OPENVINO) - ltx.image())
    assert apart.max() < 1e-3
