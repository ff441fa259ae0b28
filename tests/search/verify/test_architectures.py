"""The small pipelines: of the classes that people run, the same each time, and no output hides what is done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from autotune.probes.model import read_model
from autotune.search.pipeline import call_pipeline, load_pipeline
from autotune.search.trial.images import checked
from autotune.search.verify.architectures import ARCHITECTURES, Architecture

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]  # transformers and diffusers warn of what small models lack


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
def test_a_small_pipeline_makes_an_image_that_depends_on_prompt_and_seed(
    architecture: Architecture, tmp_path: Path
) -> None:
    card = read_model(architecture.save(tmp_path / "one"))
    assert card.pipeline_class == architecture.pipeline_class
    assert card.revision == read_model(architecture.write(tmp_path / "two")).revision
    pipe, workload = load_pipeline(card), architecture.workload
    placed = load_pipeline(card, device_map="cpu").to("cpu")  # as on a GPU, where weights come to it while they load
    frames = (workload.frames,) if workload.frames > 1 else ()
    images = [
        call_pipeline(pipe, workload, prompt, seed, output_type="np")
        for prompt, seed in (("a red circle", 0), ("a red circle", 0), ("two blue squares", 0), ("a red circle", 1))
    ]
    assert images[0].shape == (1, *frames, 32, 32, 3)
    assert checked(images[0]) is None
    assert np.array_equal(images[0], images[1])
    assert np.array_equal(images[0], call_pipeline(placed, workload, "a red circle", 0, output_type="np"))
    assert not np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[3])


def test_names_are_told_apart() -> None:
    assert len({each.name for each in ARCHITECTURES}) == len(ARCHITECTURES) >= 8
