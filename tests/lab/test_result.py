"""What a sweep found, told: beside an older one, and as tables for other tools."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest

from autotune.planner.lab.journal import Journal
from autotune.planner.lab.result import Row, Told, told
from autotune.planner.lab.sweep import Sweep
from autotune.planner.lab.tables import as_csv, as_parquet
from autotune.planner.lab.wanted import Lab
from autotune.planner.pages.render import render
from autotune.search.measured import Latency
from autotune.store.run import Run
from autotune.store.store import Store

from ..store.samples import MACHINE, SCOPE, plan, trial
from .fake import FakeEngine

if TYPE_CHECKING:
    from pathlib import Path

LAB = Lab.model_validate(
    {"name": "spring", "model": [{"name": "shapes"}, {"name": "tiny"}], "machine": [{"every_kind_once": True}]}
)
ROWS = (
    Row(machine="one", kind="k", job="shapes, 4 steps, latency on k", model="shapes", state="finished", note="a, b"),
    Row(
        machine="two",
        kind="l",
        job="shapes, 4 steps, energy on l",
        model="shapes",
        state="finished",
        note='"as said"',
        trials=7,
        latency_ms=12.5,
        energy_j=3.25,
        best=True,
    ),
)


def swept(folder: Path, number: int, **more: Any) -> Journal:
    journal = Journal.begin(folder / f"{number}.jsonl", LAB, fresh=True)
    with Store.open(folder / "lab.db") as store:
        assert Sweep(journal, store, FakeEngine({"one": "Made Up 1", "two": "Made Up 2"}, **more)).run()
    return journal


def beside(folder: Path, journal: Journal, older: Journal) -> Told:
    with Store.read(folder / "lab.db") as store:
        return told(journal, store, older)


def test_what_has_become_slower_is_told(tmp_path: Path) -> None:
    older = swept(tmp_path, 1)
    newer = swept(tmp_path, 2, slowed={"tiny": 1.25, "shapes": 1.04})
    result = beside(tmp_path, newer, older)
    assert {(row.model, row.machine, round(row.before or 0, 3)) for row in result.worse} == {
        ("tiny", "one", 1.25),
        ("tiny", "two", 1.25),
    }
    for form in ("sweep.md", "sweep.html"):
        assert "tiny, its own calls, latency on one takes 1.25" in render(form, told=result, style="")
    assert not beside(tmp_path, older, newer).worse


def test_with_other_software_a_machine_is_still_itself(tmp_path: Path) -> None:
    older = swept(tmp_path, 1)
    older.entries = [
        entry.model_copy(update={"job": entry.job.replace(" on ", " on another ")} if entry.job else {})
        for entry in older.entries
    ]
    newer = swept(tmp_path, 2, slowed={"tiny": 2.0})
    assert {(row.model, row.machine) for row in beside(tmp_path, newer, older).worse} == {
        ("tiny", "one"),
        ("tiny", "two"),
    }


def test_energy_is_that_of_an_image(tmp_path: Path) -> None:
    scope = SCOPE.model_copy(update={"objective": "energy", "workload": SCOPE.workload.model_copy(update={"batch": 4})})
    measured = trial(3).model_copy(update={"outcome": "ok", "latency": Latency(samples_ms=(9.0,)), "costs": (80.0,)})
    journal = swept(tmp_path, 1)
    name = "0190aaaa-0000-7000-8000-000000000000"
    run = Run(id=name, scope=scope, state="new", started_at="2026-01-01T00:00:00+00:00", trials=(measured,))
    with Store.open(tmp_path / "lab.db") as store:
        store.adopt_run(run, MACHINE)
        store.finish_run(name, "enough", [plan(3, name, scope)], finished=True)
    journal.note(journal.entries[-2].model_copy(update={"job": "shapes, energy on k", "run": name}))
    with Store.read(tmp_path / "lab.db") as store:
        energies = [row.energy_j for row in told(journal, store).rows]
    assert sorted(filter(None, energies)) == [20.0]


def test_csv_says_what_the_rows_say() -> None:
    read = list(csv.DictReader(io.StringIO(as_csv(ROWS).decode())))
    assert [each["note"] for each in read] == ["a, b", '"as said"']
    assert [each["energy_j"] for each in read] == ["", "3.25"]


def test_parquet_keeps_types_and_what_is_unknown() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(io.BytesIO(as_parquet(ROWS)))
    assert table.to_pylist() == [row.model_dump() for row in ROWS]
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["trials"], types["latency_ms"], types["peak_bytes"], types["best"], types["note"]) == (
        "int64",
        "double",
        "int64",
        "bool",
        "string",
    )
    assert {field.name: str(field.type) for field in parquet.read_table(io.BytesIO(as_parquet(()))).schema} == types


@pytest.mark.parametrize(
    ("baseline", "doubts", "said"),
    [
        (None, "", ""),
        (None, "Others were busy.", "Others were busy."),
        (1.0, "", "The baseline takes 1.00 times as long."),
        (
            1.73,
            "Others were busy.",
            "The baseline takes 1.73 times as long, so it is the machine that is slower. Others",
        ),
        (1.2, "", "The baseline takes 1.20 times as long."),
    ],
)
def test_a_slower_machine_is_told_from_a_worse_plan(baseline: float | None, doubts: str, said: str) -> None:
    row = ROWS[0].model_copy(update={"before": 1.71, "baseline_before": baseline, "doubts": doubts})
    assert row.said_worse.startswith(said)
    assert bool(row.said_worse) is bool(said)


def test_both_are_compared_with_the_older_sweep(tmp_path: Path) -> None:
    older, newer = swept(tmp_path, 1), swept(tmp_path, 2, slowed={"tiny": 1.25})
    rows = [row for row in beside(tmp_path, newer, older).rows if row.model == "tiny"]
    assert {(round(row.before or 0, 3), round(row.baseline_before or 0, 3)) for row in rows} == {(1.25, 1.0)}
    text = render("sweep.md", told=beside(tmp_path, newer, older), style="")
    assert "as long. The baseline takes 1.00 times as long.\n" in text
