"""docs/daemon.md says what there is, all of it, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.planner.choose import RESERVE_BYTES, RESERVE_SHARE, Answer
from autotune.planner.daemon.app import BODY_LIMIT_BYTES, create_app
from autotune.planner.daemon.connection import MOST_CONNECTIONS, REQUEST_S
from autotune.planner.daemon.serve import PORT
from autotune.planner.daemon.wire import PlanQuery, Refusal
from autotune.planner.jobs.wire import JobNow
from autotune.store.job import Order

from .family import GIB, MIB, keep

if TYPE_CHECKING:
    import pytest
    from starlette.testclient import TestClient

    from .conftest import World

PAGE = (Path(__file__).parents[2] / "docs" / "daemon.md").read_text(encoding="utf-8")


def first_column(heading: str) -> set[str]:
    """Return the names in the first column of the table below a heading."""
    section = PAGE.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {name for row in rows[2:] for name in re.findall(r"`([^`]+)`|(\d+)", row) for name in name if name}


def test_every_route_is_there() -> None:
    assert first_column("Routes") == {route.path for route in create_app().routes}  # type: ignore[attr-defined]


def test_every_parameter_is_there() -> None:
    assert first_column("What `/v1/plan` takes") == set(PlanQuery.model_fields)


def test_every_field_of_the_answer_is_there() -> None:
    assert first_column("What it answers") == set(Answer.model_fields)


def test_every_field_of_jobs_is_there() -> None:
    order, job = set(Order.model_fields), set(JobNow.model_fields)
    kinds = {"tune", "recheck", "verify", "spot"}
    assert order | job <= first_column("Jobs") | kinds
    assert first_column("Jobs") <= order | job


def test_every_status_is_there() -> None:
    assert first_column("When there is no answer") == {
        *("400", "401", "403", "404", "405", "409", "413", "422", "429", "503")
    }


def test_the_numbers_are_the_ones_in_the_code() -> None:
    assert f"http://127.0.0.1:{PORT}" in PAGE
    assert f"{BODY_LIMIT_BYTES // 1024} KiB" in PAGE
    assert f"connections at {MOST_CONNECTIONS}" in PAGE
    assert f"within {REQUEST_S:.0f} seconds" in PAGE
    assert (RESERVE_BYTES, RESERVE_SHARE) == (128 * MIB, 20)


def test_the_refusal_is_the_one_that_is_shown(ask: TestClient) -> None:
    keep()
    shown = next(line.strip() for line in PAGE.splitlines() if '"NoPlanError"' in line)
    assert ask.get("/v1/plan?model=shape").text == shown
    Refusal.model_validate_json(shown)


def test_the_example_runs(capsys: pytest.CaptureFixture[str], world: World) -> None:
    assert world.free_bytes["cpu"] > 3 * GIB
    keep()
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "docs/daemon.md", "exec"), {})  # noqa: S102 - our own page
    said = capsys.readouterr().out
    assert "plans that fits the" in said
    assert "'num_inference_steps': 20" in said
