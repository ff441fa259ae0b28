"""What the judge makes of the answers of its process, which is a script here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from autotune.errors import TrialProcessError
from autotune.search.judge import Judge
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.trial.failure import TrialFailure

from ..cli.results import task_of

if TYPE_CHECKING:
    from autotune.search.measured import Outcome
    from autotune.search.trial.process import Template

BF16 = Recipe(turned={"precision": "bf16"})
SCORES = {"unmodified": [90.0, 90.0, 90.0, 90.0], "bf16": [91.0, 89.0, 50.0, 88.0]}


class Process:
    """Scores as `SCORES` has it, says of each image that it is like the other, or fails as it is told to."""

    def __init__(self, fails: Outcome | None = None) -> None:
        self.fails = fails
        self.asked: list[dict[str, Any]] = []

    def fork(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is to be ended."""

    def ask(self, command: dict[str, Any], limit_s: float) -> dict[str, Any]:
        assert limit_s > 0
        self.asked.append(command)
        if self.fails:
            raise TrialFailure(self.fails, "as it was told")
        if command["do"] == "compare":
            return {"likeness": [0.8] * len(command["files"]), "psnr": [30.0] * len(command["files"])}
        return {"scores": [SCORES[Path(file).parent.name][int(Path(file).stem)] for file in command["files"]]}


def judge_of(process: Process, folder: Path) -> Judge:
    """Return a judge of images that are there, if empty."""
    places = {UNMODIFIED: "unmodified", BF16: "bf16"}
    for place in places.values():
        (folder / place).mkdir()
        for index in range(4):
            (folder / place / f"{index}.png").touch()
    task = task_of(scorer=folder, scorer_id="s", fidelity="close")
    return Judge(task, cast("Template", process), lambda recipe, index: folder / places[recipe] / f"{index}.png")


def test_the_images_that_lost_most_are_named(tmp_path: Path) -> None:
    quality = judge_of(Process(), tmp_path).quality(BF16, UNMODIFIED, 4, time.monotonic() + 60)
    lost = [(worst.prompt, worst.seed, worst.difference) for worst in quality.worst]
    assert lost == [("c", 1002, -40.0), ("d", 1003, -2.0), ("b", 1001, -1.0)]
    assert (quality.tier, quality.fidelity, quality.psnr) == ("close", "close", (30.0,) * 4)


def test_the_baseline_is_not_compared_with_itself(tmp_path: Path) -> None:
    process = Process()
    quality = judge_of(process, tmp_path).quality(UNMODIFIED, UNMODIFIED, 4, time.monotonic() + 60)
    assert (quality.worst, quality.likeness, quality.fidelity) == ((), (), "")
    assert quality.shortfall(0.01) <= 0
    assert [command["do"] for command in process.asked] == ["score"]


def test_what_was_compared_once_is_not_compared_again(tmp_path: Path) -> None:
    process = Process()
    judge = judge_of(process, tmp_path)
    judge.quality(BF16, UNMODIFIED, 2, time.monotonic() + 60)
    judge.quality(BF16, UNMODIFIED, 4, time.monotonic() + 60)
    assert [len(command["files"]) for command in process.asked if command["do"] == "compare"] == [2, 2]
    known = Process()
    (tmp_path / "later").mkdir()
    later = judge_of(known, tmp_path / "later")
    later.recall(BF16, UNMODIFIED, judge.quality(BF16, UNMODIFIED, 4, time.monotonic() + 60))
    assert later.quality(BF16, UNMODIFIED, 4, time.monotonic() + 60).likeness == (0.8,) * 4
    assert known.asked == [], "an earlier sitting has seen all of it"


def test_a_bad_image_is_the_recipes_fault_and_a_crash_the_scorers(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(TrialFailure) as failed:
        judge_of(Process("bad_image"), tmp_path / "a").quality(BF16, UNMODIFIED, 4, time.monotonic() + 60)
    assert failed.value.outcome == "bad_image"
    with pytest.raises(TrialProcessError, match="could not judge"):
        judge_of(Process("crashed"), tmp_path / "b").quality(BF16, UNMODIFIED, 4, time.monotonic() + 60)
