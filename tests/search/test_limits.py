"""What a pipeline can be called with, by its configurations: of every model of the catalogue, and of made-up ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import UsageError
from autotune.planner.catalogue import find_model
from autotune.planner.catalogue.entries import entries
from autotune.planner.request import Request, task_of
from autotune.probes.machine import probe
from autotune.probes.model import read_model
from autotune.search.limits import nearest, refuse_impossible
from autotune.search.workload import Workload

from ..folders import write_json, write_model

ASKED = Workload(width=100, height=1000, steps=1, guidance=1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", sorted(entries()))
def test_what_a_model_is_asked_by_default_it_can_do(name: str) -> None:
    model = find_model(name)
    refuse_impossible(model.card, model.workload)


@pytest.mark.parametrize(
    ("name", "side", "frame"),
    [
        ("sd15", 8, None),
        ("flux-dev", 16, None),  # its pipeline packs 2x2 latents, and would round in silence
        ("flux2", 16, None),
        ("qwen-image", 16, None),
        ("sd35-medium", 16, None),
        ("sana", 32, None),
        ("wan21-1.3b", 16, 4),
        ("wan22-5b", 32, 4),
        ("ltx-video", 32, 8),
        ("cogvideox-2b", 16, 4),
        ("hunyuan-video", 16, 4),
        ("mochi", 16, 6),
    ],
)
def test_sides_and_frames_go_in_steps(name: str, side: int, frame: int | None) -> None:
    card = find_model(name).card
    able = Workload(width=7 * side, height=9 * side, steps=1, guidance=1, frames=5 * (frame or 0) + 1)
    refuse_impossible(card, able)
    with pytest.raises(UsageError, match=f"in steps of {side} pixels, and {7 * side}x{9 * side + side // 2} was asked"):
        refuse_impossible(card, able.model_copy(update={"height": 9 * side + side // 2}))
    how = f"1 frame and then {frame} at a time" if frame else "images, and no frames"
    with pytest.raises(UsageError, match=how):
        refuse_impossible(card, able.model_copy(update={"frames": able.frames + 1}))


def test_the_nearest_that_can_be_is_named_and_can_be() -> None:
    card = find_model("ltx-video").card
    near = nearest(card, ASKED.model_copy(update={"frames": 20}))
    assert (near.width, near.height, near.frames) == (96, 992, 17)
    refuse_impossible(card, near)
    with pytest.raises(UsageError, match=r"the nearest is 96x992\."):
        refuse_impossible(card, ASKED)


def test_where_nothing_tells_nothing_is_refused(tmp_path: Path) -> None:
    card = read_model(write_model(tmp_path / "model", _class_name="PipelineOfTomorrow"))
    write_json(Path(card.folder) / "vae" / "config.json", {})
    refuse_impossible(card, ASKED.model_copy(update={"frames": 6}))


@pytest.mark.parametrize("odd", ["8", [], {}, -1, True, 0.5, 10**30, None])
def test_odd_configurations_do_no_harm(tmp_path: Path, odd: object) -> None:
    keys = ("spatial_compression_ratio", "patch_size", "spatio_temporal_scaling", "block_out_channels")
    card = read_model(write_model(tmp_path / "model", _class_name="PipelineOfTomorrow"))
    write_json(Path(card.folder) / "vae" / "config.json", dict.fromkeys(keys, odd))
    write_json(Path(card.folder) / "transformer" / "config.json", {"patch_size": odd, "in_channels": odd})
    refuse_impossible(card, ASKED)


def test_a_video_of_an_unnamed_model_is_one_that_it_can_make(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", _class_name="MochiPipeline")
    write_json(folder / "vae" / "config.json", {"temporal_expansions": [1, 2, 3]})
    assert find_model(str(folder)).workload.frames == 19


def test_it_is_said_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="steps of 16 pixels, and 1000x1000 was asked: the nearest is 992x992"):
        task_of(Request(model="flux-dev", width=1000, height=1000), probe())
