"""Models by name: those that ship are complete, and the user's own are read or refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import ModelError
from autotune.planner.catalogue import asked_as, find_model
from autotune.planner.catalogue.entries import FILE_NAME, Published, entries, shipped
from autotune.search.workload import Workload
from autotune.store.places import config_dir

from ..folders import write_model

HUB = 'hub = "someone/something"'


def write_own(text: str) -> Path:
    file = config_dir() / FILE_NAME
    file.write_text(text)
    return file


def refused() -> str:
    with pytest.raises(ModelError) as caught:
        entries()
    said = str(caught.value)
    assert said.startswith(str(config_dir() / FILE_NAME))
    assert said.endswith(".")
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", [name for name in shipped() if name != "shapes"])
def test_every_model_that_ships_says_all_there_is_to_say(name: str) -> None:
    entry = shipped()[name]

    assert entry.hub
    assert entry.licence
    assert entry.workload
    assert entry.published
    assert all(each.source for each in entry.published.values())


def test_without_a_file_of_the_users_there_are_those_that_ship() -> None:
    assert entries() == shipped()
    assert not config_dir(make=False).exists()


def test_a_folder_gets_a_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "folder")
    workload = "workload = { width = 64, height = 32, steps = 3, guidance = 1 }"
    write_own(f'[mine]\nfolder = "{folder}"\nlicence = "MIT"\n{workload}')

    model = find_model("mine")

    assert (model.card.name, model.card.folder, model.card.weights) == ("mine", str(folder), "files")
    assert model.workload == Workload(width=64, height=32, steps=3, guidance=1)
    assert asked_as(model.card) == "mine"
    assert model.entry == entries()["mine"]


def test_what_is_left_out_is_as_for_any_folder(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "folder")
    write_own(f'[mine]\nfolder = "{folder}"')

    assert find_model("mine").workload == find_model(str(folder)).workload


def test_the_users_own_wins_over_one_that_ships() -> None:
    write_own(f"[flux-dev]\n{HUB}")

    assert entries()["flux-dev"].hub == "someone/something"
    assert entries()["sdxl"] == shipped()["sdxl"]


def test_the_hub_is_asked_what_a_repository_is_that_does_not_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    write_own(f"[mine]\n{HUB}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(ModelError, match="someone/something"):
        find_model("mine")


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("[mine", "Expected ']' at the end of a table declaration"),
        ("[mine]", "[mine] either hub or folder is needed"),
        (f'[mine]\n{HUB}\nfolder = "x"', "[mine] either hub or folder is needed"),
        ('[mine]\nhub = "something"', "[mine] hub is written OWNER/NAME, and 'something' is not"),
        (f"[mine]\n{HUB}\nspeed = 3", "[mine] speed: Extra inputs are not permitted"),
        (f'[mine]\n{HUB}\ndtype = "int8"', "[mine] dtype: Input should be 'fp32', 'bf16' or 'fp16'"),
        (f"[mine]\n{HUB}\nworkload = {{ width = 8 }}", "[mine] workload.height: Field required"),
        (f'[mine]\n{HUB}\npublished.vae = {{ parameters = "many", source = "x" }}', "'many' is no count such as 2.5B"),
        ("mine = 3", "[mine] Input should be a valid dictionary"),
        (f"[Mine]\n{HUB}", "'Mine' is no name: small letters, digits, dots and dashes"),
        (f"[shapes]\n{HUB}", "is autotune's own: give it another name"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(text: str, because: str) -> None:
    write_own(text)

    assert because in refused()
    assert find_model("shapes").card.name == "shapes", "which needs no list"


def test_a_file_that_is_no_text_is_refused() -> None:
    write_own("").write_bytes(b"\xff\xfe")

    assert "cannot be read as a list of models" in refused()


@pytest.mark.parametrize(
    ("text", "least", "most"), [("13B", 12.5e9, 13.5e9), ("11.90B", 11.895e9, 11.905e9), ("860M", 859.5e6, 860.5e6)]
)
def test_a_count_is_as_exact_as_it_is_written(text: str, least: float, most: float) -> None:
    assert Published(parameters=text, source="").range == pytest.approx((least, most))
