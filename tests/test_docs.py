"""The documentation says what the code does: what is generated is fresh, and what is named exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.search.knobs import KNOBS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", ["docs/catalogue.md", "docs/reference.md", "docs/verdicts.md"])
def test_what_is_generated_is_what_the_code_says(page: str) -> None:
    command = [sys.executable, "-m", "cogapp", "--check", page]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "COLUMNS": "100"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_knob_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    assert all(f"`{knob.name}`" in text for knob in KNOBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), target


def test_the_commands_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    readme = (ROOT / "README.md").read_text()
    for target in re.findall(r"^    make (\w+)", readme, re.MULTILINE):
        assert f"\n{target}:" in makefile
