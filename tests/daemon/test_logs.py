"""The daemon's log: an object a line, with what happens, and without what is secret."""

from __future__ import annotations

import json
import logging
import os
import plistlib
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from autotune.planner.client import Client
from autotune.planner.daemon.logs import Lines, logging_as
from autotune.planner.daemon.token import read_token

from ..conftest import LINK
from ..security.corpus import CANARY

PAGE = (Path(__file__).parents[2] / "docs" / "daemon.md").read_text(encoding="utf-8")
QUOTED = 'quoted "and" long'
TOKEN = "the-token-of-this-user-and-nobody-else"


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_says_a_secret(form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("MY_PASSWORD", QUOTED)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "short")
    log = logging.getLogger("autotune")
    with logging_as(form, TOKEN):  # type: ignore[arg-type]  # one of the two
        log.warning("It was asked with Bearer %s and %s.", TOKEN, CANARY, extra={"facts": {"header": TOKEN}})
        try:
            json.loads("{}")[TOKEN + QUOTED]
        except KeyError:
            log.exception("It failed shortly.")
    said = capsys.readouterr().err
    assert "Bearer [secret] and [secret]" in said
    assert "quoted" not in said
    assert "shortly" in said  # what is short is no secret: it would be found in words
    assert TOKEN not in said
    assert CANARY not in said


def test_a_record_is_an_object_with_its_facts() -> None:
    record = logging.LogRecord("autotune", logging.WARNING, __file__, 1, "line one\nline %s", ("two",), None)
    record.facts = {"job": "01", "detail": None}
    line = Lines("json", []).format(record)
    said = json.loads(line)
    assert "\n" not in line
    assert [*said] == ["time", "level", "event", "job", "detail"]
    assert (said["level"], said["event"]) == ("warning", "line one\nline two")
    assert datetime.fromisoformat(said["time"]).utcoffset() == timedelta(0)


def test_a_daemon_logs_what_happens_and_no_token() -> None:
    code = "from autotune.planner.daemon.serve import serve; serve(port=0, log_form='json')"
    environment = os.environ | {"PYTHONPATH": str(LINK), "MY_PASSWORD": CANARY}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        url = process.stdout.readline().split()[3]
        client = Client(url, timeout_s=30)
        job = client.jobs.add(model=f"nobody/{CANARY[:20]}")
        client.jobs.tell(job.id, "cancel")
        process.terminate()
        said = process.communicate(timeout=30)[1]
    events = [json.loads(line) for line in said.splitlines()]
    assert (events[0]["event"], events[0]["url"]) == ("listening", url)
    assert events[-1]["event"] == "stopped"
    states = [event["state"] for event in events if event.get("job") == job.id]
    assert states[0] == "waiting"
    assert all({"time", "level", "event"} <= {*event} for event in events)
    assert read_token() not in said
    assert CANARY not in said


def test_what_launchd_is_given_is_a_property_list() -> None:
    [text] = re.findall(r"```xml\n(.*?)```", PAGE, re.DOTALL)
    asked = plistlib.loads(text.encode())
    assert asked["ProgramArguments"][1:] == ["serve", "--log-format", "json"]
    assert asked["KeepAlive"] == {"SuccessfulExit": False}
