"""What a user types leads to one model, or to a sentence that helps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autotune.errors import ModelError
from autotune.planner.catalogue import asked_as, find_model
from autotune.planner.catalogue.entries import shipped
from autotune.search.workload import Workload

from ..folders import write_json, write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def refused(text: str) -> str:
    with pytest.raises(ModelError) as caught:
        find_model(text)
    assert caught.value.exit_code == 7
    said = str(caught.value)
    assert said.endswith(".")
    return said


@pytest.mark.parametrize(
    ("text", "near"),
    [(text, "shapes") for text in ("shape", "shaeps", "Shapes", "SHAPES", "shapess", "hapes")]
    + [("flux_dev", "flux-dev"), ("FLUX-schnell", "flux-schnell"), ("sd-xl", "sdxl"), ("wan21-1.3B", "wan21-1.3b")],
)
def test_a_misspelt_name_is_answered_with_the_near_one(text: str, near: str) -> None:
    assert refused(text).startswith(f"There is no model {text!r}. Did you mean {near}")


NOTHING = ["/no/such/folder", "./nothing", "~nobody-of-that-name/zzz"]


@pytest.mark.parametrize("text", [*NOTHING, "x" * 5000, "a\0b", "https://example.org/model"])
def test_what_is_neither_name_nor_folder_is_said_to_be_no_model(text: str) -> None:
    said = refused(text)
    assert said.startswith(f"There is no model {text!r}.")
    assert "Did you mean" in said or all(name in said for name in shipped())
    assert "by its path" in said


def test_a_name_of_the_hub_is_asked_for_there() -> None:
    assert "HF_HUB_OFFLINE keeps the hub from being asked" in refused("runwayml/stable-diffusion-v1-5")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_bytes(b"")
    assert "is not a diffusers model folder" in refused(str(tmp_path / "model.txt"))


def test_a_folder_without_a_model_is_no_model(tmp_path: Path) -> None:
    assert "it has no model_index.json" in refused(str(tmp_path))


def test_a_folder_that_may_not_be_entered_is_not_said_to_be_missing(folder: Path) -> None:
    folder.parent.chmod(0)
    try:
        if os.access(folder, os.F_OK):
            pytest.skip("root may enter everywhere")
        assert "Permission denied" in refused(str(folder))
    finally:
        folder.parent.chmod(0o700)


def test_a_folder_is_a_model(folder: Path) -> None:
    model = find_model(str(folder))

    assert model.card.folder == str(folder)
    assert model.workload == Workload(width=64, height=64, steps=20, guidance=7.5)
    assert model.scorer is None
    assert model.budget_s > 0
    assert len(model.prompts) >= 8
    assert len({*model.prompts}) == len(model.prompts)
    assert {*model.calibration_prompts} <= {*model.prompts}


def test_a_model_that_does_not_tell_its_size_is_asked_for_512_pixels(folder: Path) -> None:
    write_json(folder / "unet" / "config.json", {"sample_size": -1})

    assert find_model(str(folder)).workload.width == 512


def test_a_path_may_be_relative_or_start_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = find_model(str(folder))
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))

    assert find_model("model") == find_model("./model") == find_model("~/model") == whole
    monkeypatch.chdir(folder)
    assert find_model(".") == whole


def test_what_it_is_asked_as_finds_it_again_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    model = find_model("model")
    monkeypatch.chdir("/")

    assert find_model(asked_as(model.card)) == model
    assert asked_as(model.card.model_copy(update={"name": "shapes"})) == "shapes"


def test_a_short_name_wins_over_a_folder_that_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the folder one happens to stand in must not decide which model is meant."""
    write_model(tmp_path / "shapes")
    monkeypatch.chdir(tmp_path)
    try:
        assert find_model("shapes").card.folder != str(tmp_path / "shapes")
    except ModelError as error:
        assert str(tmp_path) not in str(error)  # noqa: PT017 - its weights are not here
