from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.probes.software import DISTRIBUTIONS, Software, installed_version, probe_software

from .machines import make

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n'


def test_this_machine_has_what_the_project_needs() -> None:
    versions = probe_software().versions
    for name in ("torch", "diffusers", "transformers", "accelerate", "optuna"):
        assert versions[name] == metadata.version(name)


def test_own_version_is_asked_by_the_name_of_the_distribution() -> None:
    assert probe_software(version_of=lambda name: f"1 of {name}").versions["autotune"] == "1 of autotune-diffusers"


def test_a_version_is_read_as_the_library_reads_it() -> None:
    for each in metadata.distributions():
        assert installed_version(each.name) == metadata.version(each.name)
    with pytest.raises(metadata.PackageNotFoundError):
        installed_version("nobody-has-this")


@pytest.mark.parametrize("error", [metadata.PackageNotFoundError, KeyError, OSError, UnicodeError])
def test_what_is_absent_or_damaged_is_left_out(error: type[Exception]) -> None:
    def version_of(name: str) -> str:
        if name == "torch":
            return "2.13.0"
        raise error(name)

    assert probe_software(version_of=version_of).versions == {"torch": "2.13.0"}


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"etc/os-release": DEBIAN}, "Debian GNU/Linux 12"),
        ({"etc/os-release": "NAME='Arch Linux'\n"}, "Arch Linux"),
        ({}, "Linux"),
    ],
)
def test_name_of_the_system_is_read(tmp_path: Path, files: dict[str, str], name: str) -> None:
    assert probe_software(make(tmp_path, files), system="linux").os == name


@pytest.mark.parametrize(("system", "start"), [("darwin", "macOS"), ("win32", "")])
def test_other_systems_have_a_name(system: str, start: str) -> None:
    assert probe_software(system=system).os.startswith(start)


names = st.sampled_from(sorted(DISTRIBUTIONS))
softwares = st.builds(Software, python=st.text(), os=st.text(), versions=st.dictionaries(names, st.text()))


@given(softwares)
def test_json_brings_the_same_back(software: Software) -> None:
    again = Software.model_validate_json(software.model_dump_json())
    assert again == software
    assert again.key == software.key


@given(softwares, names, st.text())
def test_another_version_is_another_key(software: Software, name: str, version: str) -> None:
    other = software.model_copy(update={"versions": software.versions | {name: version}})
    tuner_alone = name in {"autotune", "optuna"}  # they look for plans, and do not run them
    assert (other.key == software.key) is (tuner_alone or other == software)


def test_the_compiler_counts_only_with_its_headers(tmp_path: Path) -> None:
    def found(headers: Path) -> str:
        return probe_software(which=lambda _: "/usr/bin/g++", headers=headers).cxx_compiler

    assert found(tmp_path) == ""
    (tmp_path / "Python.h").touch()
    assert found(tmp_path) == "/usr/bin/g++"
    assert probe_software(which=lambda _: None, headers=tmp_path).cxx_compiler == ""
