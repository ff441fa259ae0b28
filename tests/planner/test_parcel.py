"""Plans are carried from one machine to another as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autotune.errors import UsageError
from autotune.planner.parcel import read_parcels, take_in, write_parcels
from autotune.search.recipe import Recipe
from autotune.store.store import Store

from ..store.samples import MACHINE, SCOPE, plan, trial

if TYPE_CHECKING:
    from pathlib import Path


def packed(folder: Path, recipe: Recipe) -> Path:
    """Return the file of a run that has one plan."""
    with Store.open(folder / "lab.db") as store:
        run = store.begin_run(SCOPE, MACHINE, fresh=True)
        store.keep_trial(run.id, trial(0))
        best = plan(1, run.id).model_copy(update={"recipe": recipe})
        store.finish_run(run.id, "nothing better is expected", [best], finished=True)
        [file] = write_parcels(store, folder / "plans")
    return file


def test_plans_arrive_as_they_were_measured(tmp_path: Path) -> None:
    file = packed(tmp_path, Recipe(turned={"precision": "bf16"}))
    assert file.parent.name == "shapes"
    with Store.open(tmp_path / "user.db") as store:
        assert [take_in(store, parcel) for parcel in read_parcels(tmp_path / "plans")] == [True]
        assert [take_in(store, parcel) for parcel in read_parcels(file)] == [False], "once is enough"
        [carried] = store.plans("shapes", provisional=False)
        assert carried.recipe.key == "precision=bf16"
        assert store.machine(carried.scope.machine) == MACHINE
        assert store.trials(carried.run) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"bf16"', '"fp3"'), "precision=fp3, which this autotune does not know"),
        (('"AMD EPYC"', '"AMD Ryzen"'), "of another machine or run than it says"),
        (('"schema_version": 1', '"schema_version": 2'), "holds no plans of this version"),
        (('"speedup": 2.0', '"speedup": -2.0'), "holds no plans of this version"),
    ],
)
def test_what_was_changed_is_refused(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    file = packed(tmp_path, Recipe(turned={"precision": "bf16"}))
    text = file.read_text()
    assert change[0] in text
    file.write_text(text.replace(*change))
    with pytest.raises(UsageError, match=told):
        list(read_parcels(file))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There are no plans in"):
        list(read_parcels(tmp_path))
