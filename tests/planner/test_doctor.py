"""`autotune doctor` finds what was broken on purpose, says what to do, and mends what can be mended."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest
from typer.testing import CliRunner

from autotune.errors import BusyError, StoreError
from autotune.planner.cli.main import app
from autotune.planner.daemon.state import Listening, write_state
from autotune.planner.daemon.token import make_token
from autotune.planner.doctor import FLOORS, Diagnosis, diagnose, mend
from autotune.planner.lock import the_only_tuner
from autotune.probes.machine import Machine
from autotune.store.backups import copies_of
from autotune.store.places import data_dir, state_dir
from autotune.store.store import FILE_NAME, Store

from ..daemon.conftest import World, listening
from ..daemon.family import MACHINE, keep
from ..test_layout import PROJECT


@pytest.fixture
def store() -> Path:
    keep()
    return data_dir() / FILE_NAME


def found(machine: Machine = MACHINE, versions: Mapping[str, str | None] = MappingProxyType({})) -> Diagnosis:
    def version_of(name: str) -> str:
        version = versions.get(name, metadata.version(name))
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    return diagnose(probe=lambda: machine, version_of=version_of)


def told(diagnosis: Diagnosis, check: str) -> list[tuple[str, str]]:
    return [(finding.state, finding.says) for finding in diagnosis.findings if finding.check == check]


def test_a_machine_in_order_is_said_to_be(store: Path) -> None:
    make_token()
    diagnosis = found()
    assert {finding.state for finding in diagnosis.findings} == {"good"}, diagnosis
    assert diagnosis.exit_code == 0
    assert told(diagnosis, "store") == [("good", f"{store} is sound: 1 runs of 1 models, 0 trials.")]


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    assert found().exit_code == 0
    assert not list(tmp_path.iterdir())


SPOIL: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\x5a" * 5000),
    "gone": Path.unlink,
    "a row": lambda path: path.write_bytes(path.read_bytes().replace(b'"samples_ms":[50.0]', b'"samples_ms":[10.0]')),
}


@pytest.mark.parametrize("spoil", SPOIL)
def test_damage_is_found_and_mended(store: Path, spoil: str) -> None:
    SPOIL[spoil](store)
    diagnosis = found()
    assert diagnosis.exit_code == StoreError.exit_code
    (problem,) = told(diagnosis, "store")[:1]
    assert problem[0] == "problem"
    assert str(store) in problem[1]

    assert mend()

    assert found().exit_code == 0
    with Store.read() as mended:
        assert len(mended.plans("shapes")) == 3
    assert mend() is None


def test_a_store_that_is_not_ours_is_a_problem_that_is_left_alone(store: Path) -> None:
    store.unlink()
    store.mkdir()
    assert found().exit_code == 8
    with pytest.raises(StoreError, match="is a folder"):
        mend()


def test_copies_are_missed(store: Path) -> None:
    shutil.rmtree(store.parent / "backups")
    assert told(found(), "copies")[0][0] == "warning"
    keep()
    (copy,) = copies_of(store)
    copy.write_bytes(b"")
    assert told(found(), "copies") == [
        ("warning", "None of the 1 copies of the store is sound: the next search makes one.")
    ]


@pytest.mark.parametrize("name", ["data", "state", "data/autotune.db", "data/backups", "state/token"])
def test_what_others_can_read_is_found_and_made_private(store: Path, tmp_path: Path, name: str) -> None:
    make_token()
    path = tmp_path / name
    path.chmod(path.stat().st_mode | 0o044)
    (problem,) = told(found(), "modes")
    assert problem[0] == "problem"
    assert str(path) in problem[1]

    mend()

    assert told(found(), "modes")[0][0] == "good"
    assert store.exists()


def test_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for free_bytes, state in ((10 * 2**20, "problem"), (2**30, "warning"), (2**40, "good")):
        usage = SimpleNamespace(free=free_bytes)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        assert {each for each, _ in told(found(), "disk")} == {state}


@pytest.mark.parametrize("name", FLOORS)
def test_versions_below_the_floors_are_found(name: str) -> None:
    diagnosis = found(versions={name: "0.0.9+cpu"})
    assert diagnosis.exit_code == 4
    assert f"{name} 0.0.9+cpu is older than {FLOORS[name][0]}, and not safe: " in told(diagnosis, "versions")[0][1]
    assert f"{name} is not installed" in told(found(versions={name: None}), "versions")[0][1]
    assert found(versions={name: f"{FLOORS[name][0]}.0"}).exit_code == 0


def test_what_is_installed_with_autotune_is_above_the_floors() -> None:
    for requirement in PROJECT["project"]["dependencies"]:
        name, _, least = requirement.partition(",")[0].partition(">=")
        if name in FLOORS:
            numbers = [tuple(map(int, version.split("."))) for version in (least, FLOORS[name][0])]
            assert numbers[0] >= numbers[1], name


def test_a_daemon_that_does_not_answer_is_found() -> None:
    with listening(World().app()) as url:
        write_state(Listening(url=url, pid=os.getpid(), started="2026-11-22T12:00:00+00:00"))
        assert f"answers at {url}" in told(found(), "daemon")[0][1]
    write_state(Listening(url="http://127.0.0.1:9", pid=os.getpid(), started="2026-11-22T12:00:00+00:00"))
    diagnosis = found()
    assert diagnosis.exit_code == 6
    assert f"Its process is {os.getpid()}." in told(diagnosis, "daemon")[0][1]
    write_state(Listening(url="http://127.0.0.1:9", pid=2**22 - 1, started="2026-11-22T12:00:00+00:00"))
    assert told(found(), "daemon")[0][0] == "good"  # it is dead


def test_a_token_that_is_none_is_found() -> None:
    (state_dir() / "token").write_text("short")
    (state_dir() / "token").chmod(0o600)
    assert told(found(), "token")[0][0] == "problem"


def test_what_the_probes_could_not_see_is_a_note() -> None:
    diagnosis = found(MACHINE.model_copy(update={"notes": ("NVML did not answer within 5 s.",)}))
    assert told(diagnosis, "machine")[1] == ("warning", "NVML did not answer within 5 s.")
    assert diagnosis.exit_code == 0


def test_nothing_is_mended_while_somebody_tunes(store: Path) -> None:
    store.write_bytes(b"")
    with the_only_tuner(), pytest.raises(BusyError):
        mend()


def test_the_command_says_it_to_people_and_to_machines(store: Path) -> None:
    store.write_bytes(b"\x5a" * 5000)
    runner = CliRunner()
    done = runner.invoke(app, ["doctor", "--json"])
    assert done.exit_code == 8
    assert json.loads(done.output)["repaired"] is None

    done = runner.invoke(app, ["doctor", "--repair", "--json"])
    content = json.loads(done.output)
    assert (done.exit_code, content["schema_version"]) == (0, 1)
    assert content["repaired"]["put_back"]["plans"] == 3
    assert "what was written after the copy" in content["repaired"]["lost"][0]

    store.write_bytes(b"")
    text = runner.invoke(app, ["doctor", "--repair"]).output
    assert "The store was repaired." in text
    assert "The damaged file is kept as " in text
    assert "WRONG" not in text
