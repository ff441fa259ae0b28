"""The ladder of benchmarks/ladder.py: on any model and machine, with the steps that cannot be taken and why."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autotune.search.knobs import KNOBS
from autotune.search.recipe import Recipe
from autotune.search.space import Space

if TYPE_CHECKING:
    from autotune.search.recipe import Choice

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "ladder.py"


@pytest.fixture(scope="module")
def ladder() -> Any:
    spec = importlib.util.spec_from_file_location("ladder", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["ladder"] = module  # where its dataclass looks for its annotations
    spec.loader.exec_module(module)
    return module


def space_without(*turns: tuple[str, Choice]) -> Space:
    refused = dict.fromkeys(turns, "it is not there")
    choices = {knob.name: tuple(c for c in knob.choices if (knob.name, c) not in refused) for knob in KNOBS}
    return Space(choices, refused)


def test_every_step_is_a_recipe(ladder: Any) -> None:
    for _, turned in ladder.LADDER:
        assert ladder.possible(turned, space_without()) == (Recipe(turned=dict(turned)), "", False)


def test_a_step_that_is_refused_says_why_and_the_later_do_without_it(ladder: Any) -> None:
    space = space_without(("memory_format", "channels_last"))
    assert ladder.possible(ladder.BF16, space)[1:] == ("it is not there", True)
    recipe, reason, refused = ladder.possible(ladder.INDUCTOR, space)
    assert recipe == Recipe(turned={"precision": "bf16", "compile": "full"})
    assert reason == "without memory_format=channels_last: it is not there"
    assert not refused


def test_what_breaks_a_rule_is_refused(ladder: Any) -> None:
    turned = {"compile": "openvino", "quantization": "nncf_int8"}
    _, reason, refused = ladder.possible(turned, space_without(("compile", "openvino")))
    assert refused
    assert "only compile=openvino makes one" in reason


@pytest.mark.slow
def test_it_climbs_and_writes_a_table(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".dev")}
    model, table = tmp_path / "tiny", tmp_path / "ladder.csv"
    subprocess.run([sys.executable, str(ROOT / "tests" / "tiny.py"), str(model)], check=True, env=environment)
    command = [sys.executable, str(SCRIPT), str(model), "--steps", "2", "--first", "5", "--csv", str(table)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with table.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["step"] for row in rows][:2] == ["as diffusers makes it", "without SDPA"]
    assert {row["outcome"] for row in rows} == {"ok"}
    assert float(rows[0]["gain_in_all"]) == 1
    assert all(float(row["latency_ms"]) > 0 and int(row["peak_memory_bytes"]) > 0 for row in rows)
    assert all(row["step"] in done.stdout for row in rows)
