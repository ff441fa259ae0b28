"""Jobs from Python and from the command line, asked of a daemon that listens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from autotune.errors import DaemonError, UsageError
from autotune.planner.cli.main import app
from autotune.planner.client import Client
from autotune.planner.daemon.app import create_app
from autotune.planner.daemon.state import Listening, write_state
from autotune.planner.daemon.token import make_token

from ..daemon.conftest import World, listening

if TYPE_CHECKING:
    from .conftest import Stage


@pytest.fixture
def client(stage: Stage) -> Iterator[Client]:
    world = World()
    daemon = create_app(probe=lambda: world.machine, token=make_token(), queue=stage.queue())
    with listening(daemon) as url:
        write_state(Listening(url=url, pid=1, started="2026-01-01T12:00:00+00:00"))
        yield Client(timeout_s=10)


def command(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["jobs", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_job_is_asked_for_and_followed(client: Client) -> None:
    job = client.jobs.add(model="quick", most_trials=4)
    said = list(client.jobs.follow(job.id))
    assert said[-1]["state"] == "done"
    assert list(client.jobs.follow(job.id, after=said[-1]["number"])) == []
    assert client.jobs.get(job.id).trials == 4
    assert [each.id for each in client.jobs.list()] == [job.id]


def test_what_cannot_be_meant_is_said(client: Client) -> None:
    for order in ({"model": "/etc"}, {"model": "quick", "steps": 0}, {"modell": "quick"}):
        with pytest.raises(UsageError):
            client.jobs.add(**order)
    with pytest.raises(UsageError):
        client.jobs.tell("no-such-job", "pause")
    with pytest.raises(DaemonError, match="cannot be followed"):
        list(client.jobs.follow("no-such-job"))


def test_the_command_line_does_the_same(client: Client) -> None:
    job = json.loads(command("add", "quick", "--budget", "400trials", "--json"))
    assert job["order"]["most_trials"] == 400
    assert job["id"] in command("list")
    assert json.loads(command("pause", job["id"], "--json"))["wanted"] in {"pause", None}
    command("cancel", job["id"])
    assert "state: state cancelled" in command("watch", job["id"])
    with pytest.raises(UsageError, match="No jobs begin with 'x'"):
        command("stop", "x")
    assert client.jobs.get(job["id"]).state == "cancelled"


def test_without_a_daemon_there_are_none(tmp_path: Path) -> None:
    assert tmp_path.is_dir()
    with pytest.raises(DaemonError, match="No daemon lives"):
        command("list")
