"""docs/faults.md names tests that there are, and says how often as they do."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from ..probes.drivers import CRASHES
from ..security import corpus, test_models, test_secrets
from . import test_driver, test_owning, test_power, test_served
from .settings import MORE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


def row(name: str) -> str:
    """Return the row of a test."""
    return next(line for line in PAGE.splitlines() if f"::{name}`" in line)


def test_every_test_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 25
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, name)


def test_every_fault_is_on_the_page() -> None:
    for folder in ("faults", "security", "stateful"):
        for file in (ROOT / "tests" / folder).glob("test_*.py"):
            assert file.name == "test_docs.py" or f"tests/{folder}/{file.name}" in PAGE, file


def test_the_figures_are_those_of_the_tests() -> None:
    assert f"| {test_power.CUTS // MORE} |" in row("test_whatever_moment_the_power_is_cut")
    assert f"| {test_served.DAMAGES // MORE} |" in row("test_no_wrong_plan_is_served")
    assert f"| {test_owning.ROUNDS // MORE} tuners" in row("test_there_is_one_owner")
    assert f"| {len(test_driver.ERRORS)} |" in row("test_each_error_in_a_process_of_its_own")
    assert f"| {len(CRASHES) + len(test_driver.HANGS)} |" in row("test_a_driver_that_breaks_is_said")
    assert f": {len(corpus.TRAVERSALS)}, plain" in row("test_no_path_leads_out")
    assert f": {len(corpus.QUOTES)} |" in row("test_no_quote_gets_into_the_question")
    assert f": {len(corpus.BODIES)} |" in row("test_no_body_breaks_it")
    assert f": {len(test_models.WAYS)} |" in row("test_what_would_run_code_is_refused_or_not_heard")
    assert f"{len(test_secrets.NAMES)} variables" in row("test_trials_and_their_logs_have_none")
