"""Compiled code that outlives its process: used again, and never in the way."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from autotune.probes.machine import probe
from autotune.search.compiled import file_of, is_compiled, keep, recall
from autotune.search.recipe import UNMODIFIED, Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from autotune.search.knobs import Bench
    from autotune.search.task import Task

REGIONAL = Recipe(turned={"compile": "regional"})


def inductors(folder: Path) -> Path:
    """Return a folder as inductor leaves it."""
    (folder / "fxgraph" / "ab").mkdir(parents=True)
    (folder / "fxgraph" / "ab" / "graph").write_bytes(b"a pickle")
    (folder / "kernel.so").write_bytes(b"machine code" * 100)
    (folder / "locks").mkdir()
    (folder / "locks" / "one.lock").touch()
    return folder


@pytest.fixture
def kept(bench: Bench, tmp_path: Path) -> Path:
    keep(REGIONAL, bench, inductors(tmp_path / "first"))
    return file_of(REGIONAL, bench)


def test_what_is_kept_comes_back(bench: Bench, kept: Path, tmp_path: Path) -> None:
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    folder = tmp_path / "second"
    assert recall(REGIONAL, bench, folder)
    found = {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    assert found == {"fxgraph/ab/graph": b"a pickle", "kernel.so": b"machine code" * 100}
    assert not list(kept.parent.glob(".draft-*"))


def test_what_lies_there_already_is_left_alone(bench: Bench, kept: Path, tmp_path: Path) -> None:
    assert kept.exists()
    folder = tmp_path / "second"
    folder.mkdir()
    (folder / "kernel.so").write_bytes(b"in use")
    assert recall(REGIONAL, bench, folder)
    assert (folder / "kernel.so").read_bytes() == b"in use"


@pytest.mark.parametrize("where", [0, 50, -30])
def test_a_damaged_file_is_removed_and_compiled_again(
    bench: Bench, kept: Path, tmp_path: Path, where: int, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytearray(kept.read_bytes())
    content[where : where + 8] = b"\xff" * 8
    kept.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert not recall(REGIONAL, bench, tmp_path / "second")
    assert "damaged" in caplog.text
    assert not kept.exists()
    kept.write_bytes(content[:40])
    assert not recall(REGIONAL, bench, tmp_path / "second")


@pytest.mark.parametrize("shared", ["file", "folder", "link"])
def test_what_others_may_write_is_not_trusted(bench: Bench, kept: Path, tmp_path: Path, shared: str) -> None:
    if shared == "file":
        kept.chmod(0o620)
    elif shared == "folder":
        kept.parent.chmod(0o777)
    else:
        elsewhere = kept.rename(tmp_path / "elsewhere.zip")
        kept.symlink_to(elsewhere)
    assert not recall(REGIONAL, bench, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_it_is_for_one_recipe_one_machine_and_one_workload(bench: Bench, kept: Path, tmp_path: Path) -> None:
    assert kept.exists()
    others = [
        (Recipe(turned={"compile": "full"}), bench),
        (REGIONAL, replace(bench, machine="another")),
        (REGIONAL, replace(bench, software="newer")),
        (REGIONAL, replace(bench, device="cuda")),
        (REGIONAL, replace(bench, workload=bench.workload.model_copy(update={"batch": 2}))),
        (REGIONAL, replace(bench, card=bench.card.model_copy(update={"revision": "r2"}))),
    ]
    assert not any(recall(recipe, other, tmp_path / "second") for recipe, other in others)
    assert len({file_of(recipe, other) for recipe, other in others} | {kept}) == len(others) + 1


def test_only_what_inductor_compiles_is_kept(bench: Bench, tmp_path: Path) -> None:
    folder = inductors(tmp_path / "first")
    for turned in ({}, {"compile": "openvino"}, {"precision": "bf16"}):
        recipe = Recipe(turned=turned)  # type: ignore[arg-type]  # dict is invariant
        assert not is_compiled(recipe)
        keep(recipe, bench, folder)
    assert not (bench.artifacts / "inductor").exists()
    assert is_compiled(Recipe(turned={"vae_compile": True}))
    assert not is_compiled(UNMODIFIED)


def test_a_disk_that_is_full_or_closed_fails_no_trial(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench.artifacts.mkdir(parents=True)
    (bench.artifacts / "inductor").touch()
    keep(REGIONAL, bench, inductors(tmp_path / "first"))
    assert "could not be kept" in caplog.text


COMPILES = """
import json, sys
from pathlib import Path
order, folder = json.loads(sys.stdin.read()), sys.argv[1]
from autotune.search.trial.worker import Worker
Worker().do_load({**order, "compiled": folder})
from torch._dynamo.utils import counters
print(json.dumps(counters["inductor"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not probe().software.cxx_compiler, reason="inductor needs a C++ compiler")
def test_a_second_process_compiles_nothing(task: Task, tmp_path: Path) -> None:
    order = task.order(REGIONAL, tmp_path).model_dump_json()
    counted = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        command = [sys.executable, "-W", "ignore", "-c", COMPILES, str(folder)]
        done = subprocess.run(command, input=order, text=True, capture_output=True, check=True)
        counted.append(json.loads(done.stdout.splitlines()[-1]))
    assert counted[0]["fxgraph_cache_miss"] > 0
    assert counted[1]["fxgraph_cache_hit"] == counted[0]["fxgraph_cache_miss"]
    assert "fxgraph_cache_miss" not in counted[1]
    made = {each.name for each in (tmp_path / "first").rglob("*.so")}
    assert made == {each.name for each in (tmp_path / "second").rglob("*.so")}
