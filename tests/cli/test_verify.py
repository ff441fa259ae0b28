"""`autotune verify` on the command line: what is said while it goes and at the end, and the exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotune.planner import verify as module
from autotune.planner.cli.main import main
from autotune.search.recipe import Recipe
from autotune.search.verify.check import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from autotune.planner.verify import Wanted

GOOD = Row(architecture="sd", recipe=Recipe(turned={"precision": "bf16"}), outcome="works", apart=0.001)
IDLE = Row(
    architecture="flux", recipe=Recipe(turned={"fuse_qkv": True}), outcome="does nothing", detail="fuse_qkv", apart=0.0
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command with rows that are made up."""

    def run_with(rows: list[Row], *arguments: str) -> int:
        def verified(wanted: Wanted, file: Path, on_row: Callable[[Row], None]) -> list[Row]:
            assert (wanted.names, wanted.pairs, file) == (("sd",), True, Path("rows.jsonl"))
            for row in rows:
                on_row(row)
            return rows

        monkeypatch.setattr(module, "verify", verified)
        monkeypatch.setattr(sys, "argv", ["autotune", "verify", "sd", "--pairs", "-o", "rows.jsonl", *arguments])
        with pytest.raises(SystemExit) as leaving:
            main()
        return int(leaving.value.code or 0)

    return run_with


def test_all_as_the_table_has_it(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([GOOD]) == 0
    out, err = capsys.readouterr()
    assert "precision=bf16" in err
    assert "allowed, works\n" in err
    assert "nncf_needs_openvino: not checked on this machine" in out
    assert "The rows are in rows.jsonl." in out


def test_a_difference_is_said_twice_and_is_the_exit_code(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([GOOD, IDLE]) == 3
    out, err = capsys.readouterr()
    assert "<- it is allowed, and fuse_qkv does nothing" in err
    assert "flux, fuse_qkv=True: it is allowed, and fuse_qkv does nothing." in out


def test_programs_are_told_in_lines_of_json(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([GOOD, IDLE], "--json") == 3
    out, err = capsys.readouterr()
    assert err == ""
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["difference"] for line in lines] == ["", "it is allowed, and fuse_qkv does nothing"]
    assert lines[1]["recipe"] == {"turned": {"fuse_qkv": True}}
