"""A safety checker computes in every trial, and makes nothing black."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotune.search.trial.safety import do_not_hear_safety_checker


def alarmist() -> Any:
    """The real checker, small, for which everything is above its thresholds."""
    import torch
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(vision_config={**sizes, "num_attention_heads": 2}, projection_dim=64)
    checker = StableDiffusionSafetyChecker(config)
    torch.nn.init.constant_(checker.concept_embeds_weights, -2.0)
    return checker


def looked_at(checker: Any, images: Any) -> tuple[Any, Any]:
    import torch

    images, verdicts = checker(clip_input=torch.randn(2, 3, 32, 32), images=images)
    return images, verdicts


@pytest.mark.parametrize("tensor", [False, True])
def test_an_image_that_it_would_make_black_is_left_as_it_is(tensor: bool) -> None:  # noqa: FBT001 - a parameter
    import torch

    checker, white = alarmist(), np.ones((2, 8, 8, 3), np.float32)
    assert looked_at(checker, white.copy())[1] == [True, True]
    calls: list[Any] = []
    checker.vision_model.register_forward_hook(lambda *_: calls.append(1))
    do_not_hear_safety_checker(SimpleNamespace(safety_checker=checker))
    images, verdicts = looked_at(checker, torch.from_numpy(white.copy()) if tensor else white.copy())
    assert (np.asarray(images) == 1).all()
    assert verdicts == [False, False]
    assert calls == [1], "it takes the time that it takes in the app"


@pytest.mark.parametrize("pipe", [SimpleNamespace(), SimpleNamespace(safety_checker=None)])
def test_most_pipelines_have_none(pipe: Any) -> None:
    before = vars(pipe).copy()
    do_not_hear_safety_checker(pipe)
    assert vars(pipe) == before
