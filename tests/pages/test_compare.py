"""Two tunings side by side: named by model, run or file, of this machine or another."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import UsageError
from autotune.planner.cli.looking import compare as command
from autotune.planner.compare import compare
from autotune.planner.pages.report import account
from autotune.tests.daemon.family import MACHINE

from . import tuned

OLD = MACHINE.model_copy(
    update={
        "software": MACHINE.software.model_copy(update={"versions": {"torch": "2.12.1", "diffusers": "0.42.1"}}),
        "accelerators": (MACHINE.accelerators[0].model_copy(update={"driver": "535.10"}),),
    }
)


def test_of_two_dates_it_says_what_changed_and_what_came_of_it() -> None:
    before, after = tuned.keep(machine=OLD), tuned.keep()
    found = compare(before, after)
    assert found.differences == ("accelerators 0 driver 535.10 -> 550.54", "torch 2.12.1 -> 2.13.0")
    rows = {row.name: row for row in found.rows}
    assert (rows["latency of the plan"].a, rows["latency of the plan"].factor) == ("402 ms", 1.0)
    assert rows["peak memory"].b == "520 MiB"
    assert len(found.both) == sum(dot.outcome == "ok" for dot in account("shapes").dots)


def test_a_file_of_another_machine_is_compared_with_the_newest_here(tmp_path: Path) -> None:
    tuned.keep(machine=OLD)
    file = tmp_path / "other.json"
    file.write_text(account("shapes").model_dump_json())
    run = tuned.keep(12)
    found = compare(str(file), "shapes")
    assert found == compare(str(file), run[:30])
    assert {row.name: (row.a, row.b) for row in found.rows}["trials"] == ("40", "12")


def test_what_names_no_tuning_is_refused(tmp_path: Path) -> None:
    tuned.keep()
    file = tmp_path / "other.json"
    file.write_text("{}")
    with pytest.raises(UsageError, match="is no tuning"):
        compare(str(file), "shapes")
    first, second = tuned.keep(3), tuned.keep(3)
    common = next(first[:end] for end in range(35, 0, -1) if second.startswith(first[:end]))
    if len(common) >= 8:
        with pytest.raises(UsageError, match="begin with"):
            compare(common, "shapes")


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = tuned.keep(machine=OLD), tuned.keep()
    command(before, after)
    said = capsys.readouterr().out
    assert "differs: torch 2.12.1 -> 2.13.0" in said
    assert "latency of the plan" in said
