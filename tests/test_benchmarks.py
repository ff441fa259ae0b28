"""Benchmarks are run by hand, once in a while: that they run at all is tested with what is small."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_cpu_sd15_measures_steps_and_goes_on_from_them(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    table = tmp_path / "table.csv"
    command = [sys.executable, str(ROOT / "benchmarks" / "cpu_sd15.py"), "--tiny", "--without-quality"]
    command += ["--steps", "2", "--calls", "1", "--table", str(table), "--home", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".dev")}

    def run(*steps: str) -> dict[str, dict[str, str]]:
        only = [word for step in steps for word in ("--only", step)]
        subprocess.run([*command, *only], check=True, capture_output=True, env=environment)
        with table.open(newline="") as file:
            return {row["step"]: row for row in csv.DictReader(file)}

    rows = run("torch fp32", "OpenVINO fp32")
    assert {row["outcome"] for row in rows.values()} == {"ok"}
    assert list(rows) == ["torch fp32", "OpenVINO fp32", "torch fp32, again"]
    assert float(rows["torch fp32"]["weights_share"]) == 1
    assert 0.5 < float(rows["OpenVINO fp32"]["weights_share"]) < 1, "nobody encodes images"
    assert run("torch fp32") == rows, "what is measured is not measured again"
