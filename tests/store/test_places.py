from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs
import pytest

from autotune.errors import StoreError
from autotune.store.places import cache_dir, config_dir, data_dir, make_folder, state_dir

DOORS = (data_dir, state_dir, cache_dir, config_dir)


def test_all_places_lie_below_autotune_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path / "home"))

    assert [door() for door in DOORS] == [tmp_path / "home" / kind for kind in ("data", "state", "cache", "config")]


def test_without_it_the_system_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOTUNE_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))

    assert data_dir(make=False) == platformdirs.user_data_path("autotune", appauthor=False)
    assert "autotune" in state_dir(make=False).parts
    assert len({door(make=False) for door in DOORS}) == len(DOORS)


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", "")

    assert data_dir(make=False) == platformdirs.user_data_path("autotune", appauthor=False)


def test_a_home_may_be_relative_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AUTOTUNE_HOME", "~/tuning")

    assert data_dir(make=False) == tmp_path / "tuning" / "data"


def test_a_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        folder = data_dir()
    finally:
        os.umask(umask)

    assert folder == tmp_path / "data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_is_made_where_that_is_not_wanted(tmp_path: Path) -> None:
    for door in DOORS:
        door(make=False)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("in_the_way", ["home/data", "home"])
def test_a_file_in_the_way_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_the_way: str) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path / "home"))
    file = tmp_path / in_the_way
    file.parent.mkdir(exist_ok=True)
    file.touch()

    with pytest.raises(StoreError, match=r"cannot be a folder, because a file is in its way.*AUTOTUNE_HOME"):
        data_dir()


def test_a_folder_that_cannot_be_made_is_said() -> None:
    with pytest.raises(StoreError, match=r"/proc/autotune cannot be made \(.+\): set AUTOTUNE_HOME"):
        make_folder(Path("/proc/autotune"))  # where even root may not


def test_a_folder_that_cannot_be_written_to_is_said() -> None:
    with pytest.raises(StoreError, match="/proc/self cannot be written to: change its permissions, or set"):
        make_folder(Path("/proc/self"))
