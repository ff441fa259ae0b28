"""A verification as a file that grows: gone on with, begun anew, or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from autotune.errors import BusyError, StoreError, UsageError
from autotune.planner import verify as module
from autotune.planner.lock import the_only_tuner
from autotune.planner.verify import Wanted, read_rows, verify
from autotune.search.compiled import is_compiled
from autotune.search.recipe import Recipe
from autotune.search.space import Space
from autotune.search.verify.check import Row, singles

if TYPE_CHECKING:
    from pathlib import Path

    from autotune.search.verify.architectures import Architecture

TWO = Space({"precision": ("fp32", "bf16"), "memory_format": ("contiguous", "channels_last")}, {})


@dataclass
class FakeChecker:
    """Says of every recipe that it works, and notes that it was asked."""

    name: str
    asked: list[tuple[str, Recipe]]
    space: Space = TWO
    told: str = ""

    def row(self, recipe: Recipe) -> Row:
        self.asked.append((self.name, recipe))
        return Row(architecture=self.name, recipe=recipe, outcome="works", apart=0.1, refused=self.told)

    def judged(self, row: Row) -> Row:
        return row.model_copy(update={"refused": self.told})


@dataclass
class Machinery:
    asked: list[tuple[str, Recipe]] = field(default_factory=list)
    told: str = ""


@pytest.fixture
def machinery(monkeypatch: pytest.MonkeyPatch) -> Machinery:
    """Put fake checkers in the place of those that run pipelines."""
    made = Machinery()

    @contextmanager
    def checker(architecture: Architecture, machine: Any) -> Iterator[FakeChecker]:
        del machine
        yield FakeChecker(architecture.name, made.asked, told=made.told)

    monkeypatch.setattr(module, "checker", checker)
    return made


def test_each_choice_of_each_architecture_is_run_once(machinery: Machinery, tmp_path: Path) -> None:
    file = tmp_path / "new" / "rows.jsonl"
    heard: list[Row] = []
    rows = verify(Wanted(("sd", "flux")), file, heard.append)
    assert rows == heard == read_rows(file)[1]
    assert {(row.architecture, row.recipe) for row in rows} == set(product(("sd", "flux"), singles()))
    assert len(rows) == 2 * len(singles())
    machinery.asked.clear()
    assert verify(Wanted(("sd", "flux")), file) == rows
    assert machinery.asked == []
    verify(Wanted(("sd",), fresh=True), file)
    assert len(machinery.asked) == len(singles())


def test_pairs_come_after_all_that_stand_alone(machinery: Machinery, tmp_path: Path) -> None:
    rows = verify(Wanted(("sd", "flux"), pairs=True), tmp_path / "rows.jsonl")
    sizes = [len(row.recipe.turned) for row in rows]
    assert sizes == sorted(sizes)
    compiled = [is_compiled(row.recipe) for row in rows if len(row.recipe.turned) == 1]
    assert compiled == sorted(compiled)
    assert next(name for name, recipe in machinery.asked if len(recipe.turned) == 2) == "sd"


def test_what_is_known_is_judged_by_the_table_of_today(machinery: Machinery, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    verify(Wanted(("sd",)), file)
    machinery.told = "not any more."
    assert {row.refused for row in verify(Wanted(("sd",)), file)} == {"not any more."}
    assert {row.refused for row in read_rows(file)[1]} == {"not any more."}


def test_no_time_is_no_row(machinery: Machinery, tmp_path: Path) -> None:
    assert verify(Wanted(("sd",), minutes=1e-9), tmp_path / "rows.jsonl") == []
    assert machinery.asked == []


def test_another_software_begins_anew(machinery: Machinery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify(Wanted(("sd",)), tmp_path / "rows.jsonl")
    monkeypatch.setattr(module, "running", lambda _: {"torch": "9.9"})
    machinery.asked.clear()
    verify(Wanted(("sd",)), tmp_path / "rows.jsonl")
    assert len(machinery.asked) == len(singles())


@pytest.mark.parametrize("content", ["", "{}\n", "no json\n", '{"rows": []}'])
def test_a_file_of_somebody_else_is_left_alone(machinery: Machinery, tmp_path: Path, content: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(content)
    with pytest.raises(StoreError, match="holds no verification"):
        verify(Wanted(("sd",)), file)
    assert file.read_text() == content
    assert machinery.asked == []


@pytest.mark.usefixtures("machinery")
def test_two_at_once_would_write_over_each_other(tmp_path: Path) -> None:
    with the_only_tuner(), pytest.raises(BusyError):
        verify(Wanted(("sd",)), tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.usefixtures("machinery")
def test_a_name_that_is_none_is_told_what_is_near(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean flux"):
        verify(Wanted(("fluxx",)), tmp_path / "rows.jsonl")
