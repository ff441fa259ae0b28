"""`autotune replay` and `autotune export-trials`: for people, for machines, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autotune.errors import NoPlanError, UsageError
from autotune.planner.cli.main import app
from autotune.store.store import Store

from ..store.samples import MACHINE, SCOPE, trial

TEXT = (
    "knob,ms,loss\n"
    + "".join(f"{number},{10 + number},{number / 10}\n" for number in range(8))
    + "9,invalid:crashed,\n"
)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "table.csv").write_text(TEXT)
    return ["replay", str(tmp_path / "table.csv"), "--knobs", "knob", "--objective", "ms", "--repeats", "3"]


def said(arguments: list[str]) -> str:
    done = CliRunner().invoke(app, arguments, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.output


def test_people_see_every_sampler_and_what_was_not_there(arguments: list[str]) -> None:
    text = said([*arguments, "--sampler", "random", "--sampler", "grid", "--constraint", "loss<=0.3"])
    assert "9 recipes, 4 feasible, the best 10" in text
    assert "1 recipe that did not run charged the median cost" in text
    assert [line.split()[0] for line in text.splitlines()[-3:]] == ["(closed", "random", "grid"]


def test_machines_see_the_same(arguments: list[str], tmp_path: Path) -> None:
    picture = tmp_path / "searches.svg"
    content = json.loads(said([*arguments, "--sampler", "grid", "--json", "--plot", str(picture)]))
    [score] = content["scores"]
    assert (content["schema_version"], content["best"], score["sampler"]) == (1, 10, "grid")
    assert score["reaching"][0]["trials"] == {"value": 1, "low": 1, "high": 1}, "the first row is the best"
    assert picture.read_text().startswith("<svg")


def test_a_search_ends_with_its_budget(arguments: list[str]) -> None:
    content = json.loads(said([*arguments, "--sampler", "grid", "--json", "--budget-cost", "22"]))
    assert content["scores"][0]["median_trials"] == 2
    content = json.loads(said([*arguments, "--sampler", "grid", "--json", "--trials", "3"]))
    assert content["scores"][0]["median_trials"] == 3


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--sampler", "best"], "no sampler 'best'"),
        (["--trials", "0"], "must be 1 at least"),
        (["--cost", "seconds"], "no column 'seconds'"),
        (["--plot", "/nowhere/x.svg"], "cannot be written"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], more: list[str], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        said([*arguments, *more])


def test_trials_are_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path / "home"))
    with pytest.raises(NoPlanError):
        said(["export-trials", "shapes"])
    with Store.open() as store:
        store.keep_trial(store.begin_run(SCOPE, MACHINE, fresh=True).id, trial(1))
    file = tmp_path / "trials.csv"
    said(["export-trials", "shapes", "-o", str(file)])
    assert said(["export-trials", "shapes"]) == file.read_text()
    assert file.read_text().startswith("threads,latency_ms,")
