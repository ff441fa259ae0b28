"""The small model that ships: its scenes, its words, its weights, and the script that made them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune import shapes
from autotune.planner.catalogue import find_model
from autotune.probes.model import read_model
from autotune.shapes.draw import (
    BACKGROUNDS,
    COLOURS,
    PIXELS,
    Scene,
    distractors,
    draw,
    every_scene,
    held_out,
    held_out_scenes,
    random_scene,
)

SCENES = st.integers(0, 2**32).map(lambda seed: random_scene(Random(seed)))
GIT_LIMIT_BYTES = 25 * 2**20
ROOT = Path(__file__).parents[2]


@given(SCENES)
def test_a_distractor_is_wrong_in_one_attribute(scene: Scene) -> None:
    own = scene.caption.split()
    others = distractors(scene)
    assert len(others) == len(set(others)) >= 16
    for other in others:
        words = other.split()
        changed = Counter(own) - Counter(words)
        changed -= Counter({"a": 1, "an": 1})
        assert other != scene.caption
        assert changed.total() <= 1 or scene.corner
        assert changed.total() <= 2


@given(SCENES, st.integers(0, 1000))
def test_a_drawing_shows_its_scene(scene: Scene, seed: int) -> None:
    image = draw(scene, Random(seed), 64)
    assert (image.shape, image.dtype) == ((64, 64, 3), np.dtype(np.uint8))
    far = {"": (1, 1), "top left": (62, 62), "top right": (62, 1), "bottom left": (1, 62), "bottom right": (1, 1)}
    ground = image[far[scene.corner]].astype(int)
    assert np.abs(ground - BACKGROUNDS[scene.background]).max() <= 40
    thing = np.abs(image.astype(int) - COLOURS[scene.colour]).max(axis=2) <= 12
    assert 0.01 < thing.mean() < 0.5


def test_drawing_is_seeded() -> None:
    scene = random_scene(Random(3))
    assert np.array_equal(draw(scene, Random(1)), draw(scene, Random(1)))
    assert not np.array_equal(draw(scene, Random(1)), draw(scene, Random(2)))
    assert draw(scene, Random(1)).shape == (PIXELS, PIXELS, 3)


def test_about_a_tenth_of_the_captions_is_held_out() -> None:
    captions = {random_scene(Random(seed)).caption for seed in range(4000)}
    assert 0.08 < sum(map(held_out, captions)) / len(captions) < 0.12


def test_no_more_scenes_are_promised_than_are_held_out() -> None:
    everything = set(every_scene())
    assert {random_scene(Random(seed)) for seed in range(2000)} <= everything
    there = [scene for scene in everything if scene.held_out]
    with pytest.raises(ValueError, match=f"{len(there)} are held out"):
        held_out_scenes(len(there) + 1)
    assert len({scene.caption for scene in held_out_scenes(200)}) == 200


def test_the_prompts_that_judge_are_held_out_and_those_that_calibrate_are_not() -> None:
    model = find_model("shapes")
    assert len(set(model.prompts)) == len(model.prompts) == 32
    assert all(map(held_out, model.prompts))
    assert not any(map(held_out, model.calibration_prompts))


def test_each_word_of_a_caption_is_one_token() -> None:
    from autotune.shapes.vocabulary import MAX_TOKENS, tokenizer

    words = tokenizer()
    for seed in range(200):
        caption = random_scene(Random(seed)).caption
        assert len(words(caption).input_ids) == len(caption.split()) + 2 <= MAX_TOKENS
    assert words("Ünïcode 漢字 🙂").input_ids


def test_the_weights_are_small_and_without_pickles() -> None:
    files = [file for file in shapes.WEIGHTS.parent.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= GIT_LIMIT_BYTES
    assert {file.suffix for file in files} == {".json", ".safetensors", ".md"}
    card = read_model(shapes.WEIGHTS)
    assert card.pipeline_class == "StableDiffusionPipeline"
    assert 5e6 < card.denoiser.parameters < 7e6


def _shares_of_the_card() -> list[float]:
    card = (shapes.WEIGHTS.parent / "README.md").read_text()
    return [float(line.split("**")[3].split(" ")[0]) for line in card.splitlines() if line.startswith("| **all**")]


def test_the_card_says_that_the_scorer_is_good_enough() -> None:
    assert _shares_of_the_card()[0] >= 95


def test_the_card_says_that_the_pipeline_is_good_enough() -> None:
    assert _shares_of_the_card()[1] >= 85


@pytest.mark.slow
def test_the_report_finds_the_model_good_enough(tmp_path: Path) -> None:
    """The same as the card, on fewer images: the shares must hold, the scores must fall as images are spoilt.

    Rounded weights are left out, which take seven times as many images as all the rest.
    """
    sizes = ["--drawn", "60", "--generated", "32", "--rounded", "0"]
    script = str(ROOT / "benchmarks" / "shapes_report.py")
    done = _run(script, *sizes, "--card", str(tmp_path / "card.md"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_script_trains_resumes_and_exports_a_pipeline(tmp_path: Path) -> None:
    places = ["--checkpoints", str(tmp_path / "checkpoints"), "--weights", str(tmp_path)]
    tiny = ["--scale", "0.001", "--images", "48", *places]
    trained = _run("-m", "autotune.shapes.train", *tiny)
    assert trained.returncode == 0, trained.stderr
    assert [stage in trained.stderr for stage in ("vae: step", "scorer: step", "unet: step")] == [True] * 3
    assert read_model(tmp_path / "pipeline").pipeline_class == "StableDiffusionPipeline"
    assert (tmp_path / "scorer" / "model.safetensors").is_file()
    again = _run("-m", "autotune.shapes.train", *tiny)
    assert (again.returncode, "step" in again.stderr) == (0, False), again.stderr


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".dev")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
