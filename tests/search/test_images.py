"""Image checks and the CLIP score, with real images and the shipped scorer."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from autotune.search.trial.images import checked, save
from autotune.search.trial.likeness import MOST_PSNR, psnr, ssim, unlike
from autotune.search.trial.memory import PeakMemory
from autotune.search.trial.worker import BadImageError, classify
from autotune.shapes.draw import draw, random_scene


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 16, 16, 3), dtype=np.float32)


def test_an_image_is_an_image() -> None:
    assert checked(noise()) is None


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (0.0, "black"), (0.5, "flat")])
def test_what_is_no_image_is_named(value: float, word: str) -> None:
    assert word in (checked(np.full((1, 16, 16, 3), value, dtype=np.float32)) or "")


def test_one_bad_pixel_is_enough() -> None:
    image = noise()
    image[0, 3, 4, 1] = np.nan
    assert "NaN" in (checked(image) or "")


def test_one_bad_image_of_a_batch_is_enough() -> None:
    assert "black" in (checked(np.concatenate([noise(), np.zeros((1, 16, 16, 3), dtype=np.float32)])) or "")


def test_images_are_kept_without_loss(tmp_path: Path) -> None:
    from PIL import Image

    image = noise()[0]
    save(image, tmp_path / "new" / "1.png")
    kept = np.asarray(Image.open(tmp_path / "new" / "1.png"))
    assert np.array_equal(kept, (image * 255).round().astype(np.uint8))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MemoryError(), "out_of_memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
            "out_of_memory",
        ),
        (RuntimeError("std::bad_alloc"), "out_of_memory"),
        (BadImageError("black"), "bad_image"),
        (ValueError("no"), "crashed"),
    ],
)
def test_exceptions_have_outcomes(error: Exception, outcome: str) -> None:
    assert classify(error) == outcome


def test_peak_memory_is_seen() -> None:
    memory = PeakMemory()
    memory.start("cpu")
    block = bytearray(b"x" * 80 * 2**20)
    del block
    assert 70 * 2**20 < memory.peak_bytes() < 200 * 2**20


def test_the_scorer_tells_captions_apart(tmp_path: Path) -> None:
    from autotune import shapes
    from autotune.search.trial.clip_score import Scorer
    from autotune.shapes.draw import distractors, draw, held_out_scenes

    scenes = held_out_scenes(12)
    scorer = Scorer(shapes.SCORER)
    first = 0
    for index, scene in enumerate(scenes):
        file = tmp_path / f"{index}.png"
        save(draw(scene, Random(index)).astype(np.float32) / 255, file)
        captions = [scene.caption, *distractors(scene)[:8]]
        scores = scorer.scores([file] * len(captions), captions)
        first += scores[0] == max(scores)
        assert all(0 <= score <= 100 for score in scores)
    assert first >= 10


def test_likeness_is_one_of_the_same_and_falls_with_noise(tmp_path: Path) -> None:
    image = draw(random_scene(Random(1)), Random(1))
    found = []
    for spread in (0, 10, 40, 120):
        noise = np.random.default_rng(0).normal(0, spread, image.shape)
        file = tmp_path / f"{spread}.png"
        Image.fromarray(np.clip(image + noise, 0, 255).astype(np.uint8)).save(file)
        found.append(ssim(file, tmp_path / "0.png"))
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.2


def saved(pixels: np.ndarray, file: Path) -> Path:
    Image.fromarray(pixels.astype(np.uint8)).save(file)
    return file


def test_psnr_is_that_of_its_formula(tmp_path: Path) -> None:
    flat = np.full((16, 16, 3), 100)
    one, same, other = (saved(pixels, tmp_path / f"{name}.png") for name, pixels in enumerate((flat, flat, flat + 10)))
    assert psnr(one, same) == MOST_PSNR
    assert psnr(other, one) == pytest.approx(20 * np.log10(255 / 10))


def test_an_image_of_another_size_or_of_noise_is_none(tmp_path: Path) -> None:
    image = draw(random_scene(Random(1)), Random(1))
    whole = saved(image, tmp_path / "whole.png")
    generator = np.random.default_rng(0)
    noise = saved(generator.integers(0, 256, image.shape), tmp_path / "noise.png")
    grainy = np.clip(image + generator.normal(0, 20, image.shape), 0, 255)
    assert unlike(whole, whole) is None
    assert unlike(saved(grainy, tmp_path / "grainy.png"), whole) is None
    assert unlike(noise, whole) == "the image is noise"
    assert unlike(noise, noise) is None, "of a model of made-up weights"
    assert unlike(saved(image[:64], tmp_path / "half.png"), whole) == (
        "the image has 128x64 pixels, and the baseline's has 128x128"
    )
