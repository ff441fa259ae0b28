"""Further models that look at images: LPIPS against its own package, DINO's class, a second CLIP; in trials, too."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from autotune.errors import UsageError
from autotune.planner.request import Request, task_of
from autotune.planner.scorer import witness_id
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.fidelity import LEAST_SSIM, MOST_LPIPS, TIERS
from autotune.search.measured import Quality
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.trial.witnesses import opened
from autotune.search.witness import Kind, Witness, kind_in
from autotune.shapes import SCORER

from .conftest import MODULES

if TYPE_CHECKING:
    from autotune.probes.machine import Machine
    from autotune.search.task import Task

BF16 = Recipe(turned={"precision": "bf16"})
CONVOLUTIONS = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


def lpips_in(folder: Path) -> Path:
    """Write an LPIPS whose numbers are made up, as the two files that its package has."""
    folder.mkdir()
    random = np.random.default_rng(7)
    backbone: dict[str, Any] = {}
    for index, shape in CONVOLUTIONS.items():
        scale = (2 / np.prod(shape[1:])) ** 0.5
        backbone[f"features.{index}.weight"] = torch.from_numpy(
            random.standard_normal(shape, dtype=np.float32) * scale
        ).float()
        backbone[f"features.{index}.bias"] = torch.from_numpy(random.standard_normal(shape[0], dtype=np.float32) * 0.1)
    weights = {
        f"lin{number}.model.1.weight": torch.from_numpy(random.random((1, shape[0], 1, 1), dtype=np.float32))
        for number, shape in enumerate(CONVOLUTIONS.values())
    }
    torch.save({**backbone, "classifier.6.bias": torch.zeros(1000)}, folder / "alexnet-owt-7be5be79.pth")
    torch.save(weights, folder / "alex.pth")
    return folder


def dino_in(folder: Path) -> Path:
    """Write a small DINOv2 of random weights, with the preprocessing of the published ones."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(3)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    how = {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": 64},
        "do_center_crop": True,
        "crop_size": {"height": 56, "width": 56},
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(how))
    return folder


def pictures(folder: Path) -> list[Path]:
    """Write noise, the same in half the light, and other noise."""
    random = np.random.default_rng(8)
    noise = random.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    values = {"noise": noise, "darker": noise // 2, "other": random.integers(0, 256, (64, 96, 3), dtype=np.uint8)}
    for name, each in values.items():
        Image.fromarray(each).save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in values]


def test_lpips_is_what_its_own_package_says(tmp_path: Path) -> None:
    noise, darker, other = pictures(tmp_path)
    look = opened(lpips_in(tmp_path / "lpips"))
    found = look.figures([noise, darker, other], [noise] * 3, [""] * 3)
    # lpips 0.1.4, LPIPS(net="alex"), with these weights put into it
    assert found == pytest.approx([0.0, 0.9154506, 0.9009371], abs=1e-5)


def test_an_encoder_of_images_says_how_like_they_are(tmp_path: Path) -> None:
    noise, darker, other = pictures(tmp_path)
    look = opened(dino_in(tmp_path / "dinov2"))
    same, dark, strange = look.figures([noise, darker, other], [noise] * 3, [""] * 3)
    assert same == pytest.approx(1, abs=1e-5)
    assert -1 <= strange < 0.999
    assert dark < 0.999


def test_a_second_clip_scores_images_by_their_prompts(tmp_path: Path) -> None:
    noise, darker, _ = pictures(tmp_path)
    found = opened(SCORER).figures([noise, darker], [noise, noise], ["a red circle", "a red circle"])
    assert len(found) == 2
    assert all(0 <= each <= 100 for each in found)


def test_a_folder_says_what_it_holds(tmp_path: Path) -> None:
    folders: dict[Path, Kind] = {
        lpips_in(tmp_path / "lpips"): "distance",
        dino_in(tmp_path / "dinov2"): "likeness",
        SCORER: "score",
    }
    names = set()
    for folder, kind in folders.items():
        assert kind_in(folder) == kind
        name = witness_id(folder)
        assert name.startswith(f"{folder.name}@")
        names.add(name)
    (tmp_path / "lpips" / "alex.pth").write_bytes(b"another")
    assert witness_id(tmp_path / "lpips") not in names, "other files have another name"


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model_type": "bert"}', '{"model_type": "siglip"}'])
def test_what_is_no_such_model_is_refused_in_a_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
        (tmp_path / "preprocessor_config.json").write_text("{}")
        (tmp_path / "model.safetensors").touch()
    with pytest.raises(UsageError, match=r"holds no model that looks at images: .*LPIPS \(alexnet\*\.pth, alex\.pth\)"):
        witness_id(tmp_path)
    with pytest.raises(UsageError, match="holds no model"):
        witness_id(tmp_path / "missing")


def test_lpips_decides_on_a_tier_where_it_is_known_of_as_many_images() -> None:
    scores, tier = (90.0,) * 4, TIERS[0]
    far = Witness(model="lpips@0", kind="distance", figures=(0.3,) * 4, baseline_figures=(0.0,) * 4)
    quality = Quality(
        scorer="s", scores=scores, baseline_scores=scores, bound=0.0, likeness=(LEAST_SSIM[tier],) * 4, fidelity=tier
    )
    assert (quality.tier, quality.shortfall(0.01) <= 0) == (tier, True)
    told = quality.model_copy(update={"witnesses": (far,)})
    assert told.tier == "similar"
    assert told.shortfall(0.01) == pytest.approx(100 * (0.3 - MOST_LPIPS[tier]))
    fewer = far.model_copy(update={"figures": (0.3,), "baseline_figures": (0.0,)})
    assert quality.model_copy(update={"witnesses": (fewer,)}).tier == tier


def test_who_looks_is_a_part_of_the_scope_and_needs_a_scorer(tmp_path: Path, machine: Machine, tiny: Path) -> None:
    lpips = lpips_in(tmp_path / "lpips")
    plain, _ = task_of(Request(model="shapes"), machine)
    seen, _ = task_of(Request(model="shapes", also=(lpips,)), machine)
    assert seen.scope.witnesses == (witness_id(lpips),)
    assert plain.scope.key != seen.scope.key
    assert plain.scope.witnesses == ()
    with pytest.raises(UsageError, match="beside the one that scores them: name that with --scorer"):
        task_of(Request(model=str(tiny), also=(lpips,)), machine)


@pytest.mark.slow
def test_witnesses_look_at_the_images_of_a_trial_and_none_twice(task: Task, tmp_path: Path) -> None:
    folders = (lpips_in(tmp_path / "lpips"), dino_in(tmp_path / "dinov2"), SCORER)
    judged = replace(
        task,
        scorer=SCORER,
        scorer_id="shapes",
        workload=task.workload.model_copy(update={"width": 64, "height": 64}),  # LPIPS needs 32 pixels a side
        witnesses={witness_id(folder): folder for folder in folders},
    )
    with IsolatedEvaluator(judged, MODULES) as evaluator:
        first = evaluator.evaluate(0, UNMODIFIED, math.inf, time.monotonic() + 120)
        second = evaluator.evaluate(1, BF16, math.inf, time.monotonic() + 120)
        whole = evaluator.quality(BF16, time.monotonic() + 120)
    assert first.quality
    assert first.quality.witnesses == ()
    assert second.quality, second.detail
    kinds = {witness.kind: witness for witness in second.quality.witnesses}
    assert kinds.keys() == {"distance", "likeness", "score"}
    assert kinds["score"].figures == pytest.approx(second.quality.scores), "it is the scorer itself"
    assert kinds["score"].baseline_figures == pytest.approx(second.quality.baseline_scores)
    assert 0 < kinds["distance"].mean < 0.5
    assert kinds["likeness"].mean > 0.9
    assert whole
    assert all(len(witness.figures) == len(task.prompts) for witness in whole.witnesses)
