"""Adapters in the app: in the pipeline with and without a plan, and never under a plan for others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autotune
from autotune.errors import ModelError, UsageError
from autotune.planner.catalogue import find_model
from autotune.probes.adapter import read_adapter
from autotune.probes.machine import probe
from autotune.search.recipe import Recipe

from .. import tiny
from ..additions import write_adapter
from ..daemon.family import keep, plan_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tiny.main(tmp_path / "tiny", nan=False)
    return tmp_path / "tiny"


def image(pipe: Any) -> np.ndarray:
    import torch

    made = pipe("a red circle", generator=torch.Generator().manual_seed(0), output_type="np").images[0]
    return np.asarray(made, dtype=np.float32)


@pytest.mark.slow
def test_an_app_has_its_adapters_with_and_without_a_plan(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    style = f"{write_adapter(tmp_path / 'style.safetensors', model)}:0.5"
    plain, bare = autotune.load(str(model), steps=2), autotune.load(str(model), steps=2, lora=[style])
    assert (plain.answer, bare.answer) == (None, None)
    assert np.abs(image(plain) - image(bare)).mean() > 1e-3

    found, machine = find_model(str(model)), probe()
    plan = plan_of(
        model=found.card.name,
        revision=found.card.revision,
        machine=machine.fingerprint,
        software=machine.software.key,
        workload=found.workload.model_copy(update={"steps": 2}),
        peak_bytes=1000,
        adapters=(read_adapter(style).key,),
    )
    keep([plan.model_copy(update={"recipe": Recipe(turned={"lora": "fused"})})], machine)
    tuned = autotune.load(str(model), lora=[style])
    assert tuned.answer
    assert not tuned.get_list_adapters(), "it is fused"
    assert np.abs(image(tuned) - image(bare)).mean() < 1e-5
    caplog.clear()
    with caplog.at_level(logging.WARNING, "autotune"):
        assert autotune.load(str(model), steps=2).answer is None
    assert "tuned with adapters or distilled variants only" in caplog.text


def test_what_is_no_adapter_is_told_before_anything_is_loaded(model: Path) -> None:
    with pytest.raises(ModelError, match="There is no adapter at"):
        autotune.load(str(model), lora=["no/such.safetensors"])
    with pytest.raises(UsageError, match="no distilled variant turbo"):
        autotune.load(str(model), distilled={"turbo": "."})
