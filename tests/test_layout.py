"""The rules of docs/adr/0001-layout.md, and the habits that a reader of this code may rely on."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import metadata, packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import autotune

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]

DOOR = "__init__"
BASE = {"errors", "value"}  # below every folder, so at the root
FLOORS = {"probes": 0, "search": 1, "store": 2, "planner": 3}
NOT_CODE = {"build", "dist", "tests"}

FILE_LINES = 450
FUNCTION_LINES = 60


def folder_of(package: str) -> Path:
    """Return where a package of the list stands."""
    return ROOT.joinpath(*package.split(".")[1:])


def python_files() -> list[Path]:
    """Return the files of the package, tests excluded."""
    return sorted(file for package in PACKAGES for file in folder_of(package).glob("*.py"))


def name_of(file: Path) -> str:
    """Return the path of a file in the checkout."""
    return file.relative_to(ROOT).as_posix()


def folders_with_init() -> Iterator[Path]:
    """Yield every folder that Python would take for a package, but for hidden ones and virtual environments."""
    for folder, inside, files in os.walk(ROOT):
        inside[:] = [name for name in inside if not name.startswith(".") and name not in NOT_CODE]
        if "pyvenv.cfg" in files:
            inside.clear()
        if "__init__.py" in files:
            yield Path(folder)


each_file = pytest.mark.parametrize("file", python_files(), ids=name_of)


def test_every_package_is_listed() -> None:
    on_disk = {".".join(["autotune", *folder.relative_to(ROOT).parts]) for folder in folders_with_init()}
    assert on_disk == set(PACKAGES), "pyproject.toml, tool.setuptools.packages"
    assert sorted(PACKAGES) == PACKAGES


def test_root_holds_the_door_and_the_base_alone() -> None:
    assert {file.stem for file in ROOT.glob("*.py")} == {DOOR, *BASE}, "each would be part of the package"


def test_link_leads_to_the_checkout() -> None:
    link = ROOT / ".dev" / "autotune"
    assert link.is_symlink()
    assert link.readlink() == Path("..")
    assert Path(str(autotune.__file__)).resolve() == ROOT / "__init__.py"


def imported(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each import from within the project, wherever it stands: its line, and its path below the root."""
    package = list(file.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module or "").split(".")
            for name in node.names:
                yield node.lineno, [part for part in [*base, name.name] if part]
        elif isinstance(node, ast.ImportFrom | ast.Import):
            paths = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            for path in paths:
                first, *rest = path.split(".")
                if first == "autotune":
                    yield node.lineno, rest or [DOOR]


def may_import(importer: str, wanted: str) -> bool:
    """Return whether a folder (or root module) may import from another."""
    if wanted in BASE or importer in {DOOR, wanted}:
        return True
    if importer in BASE or importer == "shapes":
        return False
    return wanted == "shapes" or (wanted in FLOORS and FLOORS[wanted] < FLOORS[importer])


@each_file
def test_imports_point_down(file: Path) -> None:
    importer = file.relative_to(ROOT).with_suffix("").parts[0]
    wrong = [
        f"line {line}: {importer} imports {'.'.join(path)}"
        for line, path in imported(file)
        if not may_import(importer, path[0])
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("importer", "wanted", "allowed"),
    [
        ("planner", "store", True),
        ("planner", "probes", True),
        ("probes", "probes", True),
        ("search", "shapes", True),
        ("shapes", "errors", True),
        ("probes", "search", False),
        ("search", "store", False),
        ("store", "planner", False),
        ("shapes", "probes", False),
        ("errors", "probes", False),
        ("value", "errors", True),
        ("planner", DOOR, False),
    ],
)
def test_the_direction_itself(importer: str, wanted: str, *, allowed: bool) -> None:
    assert may_import(importer, wanted) is allowed


def test_imports_are_found_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "search" / "knobs" / "some.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from ...store.plans import keep\n"
        "from ... import errors\n"
        "from ..space import Space\n"
        "from . import tome\n"
        "def late():\n    import autotune.planner.load\n    from autotune import plan\n    import torch\n"
    )
    assert [path for _, path in imported(file)] == [
        ["store", "plans", "keep"],
        ["errors"],
        ["search", "space", "Space"],
        ["search", "knobs", "tome"],
        ["planner", "load"],
        [DOOR],
    ]


@pytest.mark.parametrize("name", autotune.__all__)
def test_door_opens(name: str) -> None:
    found = getattr(autotune, name)
    assert found.__name__ == name
    assert name in dir(autotune)


def test_door_refuses_other_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        autotune.lode  # noqa: B018 - asking is the test


def test_door_for_type_checkers_is_the_same_door() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    shown = {
        alias.name: f".{node.module}" for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert shown == autotune._MODULES
    assert sorted(shown) == sorted(autotune.__all__)


def test_importing_autotune_imports_nothing_heavy() -> None:
    code = "import sys, autotune, autotune.errors; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "autotune" in loaded
    assert loaded.isdisjoint({"torch", "pydantic", "numpy", "diffusers", "transformers", "optuna", "rich", "typer"})


@each_file
def test_every_exemption_names_its_code(file: Path) -> None:
    bare = re.compile(r"#\s*(type:\s*ignore(?!\[[a-z])|noqa(?!:\s*[A-Z]+[0-9]+)|ruff:\s*noqa(?!:))")
    found = [f"line {number}" for number, line in enumerate(file.read_text().splitlines(), 1) if bare.search(line)]
    assert not found, "an exemption without a code hides the next mistake too"


@each_file
def test_files_and_functions_are_short(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= FILE_LINES, "split it: one door a module"
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    long = [node.name for node in functions if (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES]
    assert not long


def distribution(requirement: str) -> str:
    """Return the name in a requirement, spelt as the index spells it."""
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


def declared() -> set[str]:
    """Return every distribution that pyproject.toml names."""
    extras: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
    named = [*PROJECT["project"]["dependencies"], *(name for extra in extras.values() for name in extra)]
    return {distribution(name) for name in named} - {PROJECT["project"]["name"]}


def pinned() -> list[str]:
    """Return the lines of constraints.txt that say something."""
    return [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]


def test_every_import_is_declared() -> None:
    owners = packages_distributions()
    wanted = set()
    for file in [*python_files(), *(ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                wanted.add((node.module or "").partition(".")[0])
    wanted -= {"autotune", *sys.stdlib_module_names}
    missing = {name for name in wanted if declared().isdisjoint(map(distribution, owners.get(name, [name])))}
    assert not missing, "pyproject.toml, project.dependencies or an extra"


def test_every_dependency_is_pinned_and_its_licence_told() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9.]*", line) for line in pinned())
    assert declared() <= {distribution(line) for line in pinned()}
    table = re.findall(r"^\| ([a-z0-9_-]+) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert {distribution(name) for name in table} - {"distribution"} == declared()


def licence(name: str) -> str:
    """Return what a distribution says of its licence, its first words only: some put the whole text there."""
    about = metadata(name)
    told = [text for field in ("License-Expression", "Classifier", "License") for text in about.get_all(field, [])]
    return " ".join(text.partition("\n")[0] for text in told)


def test_licences_are_permissive() -> None:
    copyleft = re.compile(r"\b[AL]?GPL|General Public License")
    assert not [line for line in pinned() if copyleft.search(licence(distribution(line)))]


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a copy: a build leaves folders behind
    skipped = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "checkpoints", "__pycache__")
    shutil.copytree(ROOT, source, ignore=skipped)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    alone = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, *alone, "--wheel-dir", tmp_path, source], check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    top = {name for name in inside if name.count("/") == 1}
    assert top == {f"autotune/{name}" for name in ("__init__.py", "errors.py", "value.py", "py.typed")}
    assert {name for name in inside if name.endswith(".py")} == {f"autotune/{name_of(file)}" for file in python_files()}
    data = [*(ROOT / "shapes" / "weights").rglob("*"), *(ROOT / "planner" / "catalogue").rglob("*.json")]
    assert inside >= {f"autotune/{name_of(file)}" for file in data if file.is_file()}
    assert not [name for name in names if "/tests/" in name or "/benchmarks/" in name]
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
