"""A model's card: the same of a name, of `shapes` and of a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autotune.errors import ModelError
from autotune.planner import show as module
from autotune.planner.cli.card import print_card, said_count
from autotune.planner.show import Shown, show
from autotune.probes.layers import Block

from ..folders import write_model

if TYPE_CHECKING:
    from pathlib import Path


def refuse(card: object) -> None:
    raise ModelError(str(card))


def test_a_model_without_its_weights() -> None:
    shown = show("flux-dev")

    assert (shown.hub, shown.gated, shown.weights_here) == ("black-forest-labs/FLUX.1-dev", True, False)
    assert (shown.pipeline_class, shown.denoiser) == ("FluxPipeline", "DiT")
    transformer = {part.name: part for part in shown.parts}["transformer"]
    assert transformer.parameters == 11_901_408_320
    assert transformer.bytes == 2 * transformer.parameters
    assert transformer.blocks[0] == Block(class_name="FluxTransformerBlock", count=19)
    assert Shown.model_validate_json(shown.model_dump_json()) == shown


def test_shapes() -> None:
    shown = show("shapes")

    assert (shown.hub, shown.gated, shown.weights_here, shown.denoiser) == ("", False, True, "UNet")
    assert shown.licence == "Apache-2.0"
    assert [part.name for part in shown.parts if part.blocks] == ["text_encoder", "unet", "vae"]


def test_a_folder_that_cannot_be_built_is_shown_without_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "compositions", refuse)
    shown = show(str(write_model(tmp_path / "model")))

    assert (shown.model, shown.hub, shown.licence, shown.weights_here) == ("model", "", "", True)
    assert [(part.name, part.parameters, part.blocks) for part in shown.parts] == [
        ("scheduler", 0, ()),
        ("unet", 10, ()),
        ("vae", 8, ()),
    ]


def test_it_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_card(show("sdxl"))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert "model sdxl, a StableDiffusionXLPipeline with a UNet" in lines
    assert "hub stabilityai/stable-diffusion-xl-base-1.0" in lines
    assert "licence CreativeML Open RAIL++-M" in lines
    assert "weights not here; 12.9 GiB to download" in lines
    assert "workload 1024x1024, 50 steps, guidance 5" in lines
    assert "component class parameters bytes blocks" in lines
    assert "scheduler EulerDiscreteScheduler" in lines
    assert "unet UNet2DConditionModel 2.57 B 9.6 GiB 70 BasicTransformerBlock" in lines


def test_weights_that_are_here_are_said_to_be_where(capsys: pytest.CaptureFixture[str]) -> None:
    shown = show("shapes")
    print_card(shown.model_copy(update={"folder": "/weights", "gated": True, "hub": "a/b", "denoiser": ""}))
    out = capsys.readouterr().out

    assert "MiB in /weights" in out
    assert "a/b, gated" in out
    assert " with a " not in out


@pytest.mark.parametrize(("count", "said"), [(11_901_408_320, "11.90 B"), (859_520_964, "859.5 M"), (10, "0.0 M")])
def test_counts_are_said_in_millions_or_billions(count: int, said: str) -> None:
    assert said_count(count) == said
