"""Jobs over HTTP: asked for, looked at, told what to do, and followed as they go."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from autotune.planner.daemon.app import create_app
from autotune.planner.daemon.jobs import MOST_FOLLOWERS
from autotune.planner.jobs.permitted import may_be_named

from ..jobs.conftest import Stage
from .conftest import BASE_URL, KNOWS, TOKEN, World, listening

UNKNOWN = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    folder = tmp_path / "trials"
    folder.mkdir()
    return Stage(folder)


@pytest.fixture
def waiting(stage: Stage) -> TestClient:
    """A daemon that takes jobs, and does none."""
    app = create_app(token=TOKEN, queue=stage.queue())
    return TestClient(app, base_url=BASE_URL, raise_server_exceptions=False, headers=KNOWS)


@pytest.fixture
def live_url(stage: Stage, world: World) -> Iterator[str]:
    """The url of a daemon that does jobs."""
    app = create_app(probe=lambda: world.machine, token=TOKEN, queue=stage.queue())
    with listening(app) as url:
        yield url


def post(url: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.post(f"{url}/v1/jobs{path}", json=body, headers=KNOWS).json()
    return found


def events(url: str, job_id: str, after: str = "") -> list[dict[str, Any]]:
    """Return the events of a job until it is over."""
    headers = {"Last-Event-ID": after} if after else {}
    with httpx2.stream("GET", f"{url}/v1/jobs/{job_id}/events", headers=headers, timeout=20) as response:
        if response.status_code == 204:
            return []
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = list(response.iter_lines())
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [f"id: {entry['number']}" for entry in data] == [line for line in lines if line.startswith("id: ")]
    assert [f"event: {entry['event']}" for entry in data] == [line for line in lines if line.startswith("event: ")]
    return data


def test_a_job_is_asked_for_listed_and_told(waiting: TestClient) -> None:
    job = waiting.post("/v1/jobs", json={"model": "shapes", "steps": 4, "idle_only": True}).json()
    assert (job["state"], job["order"]["model"], job["order"]["kind"]) == ("waiting", "shapes", "tune")
    assert waiting.get("/v1/jobs").json()["jobs"] == [job]
    assert waiting.post(f"/v1/jobs/{job['id']}/pause").json()["state"] == "paused"
    assert waiting.post(f"/v1/jobs/{job['id']}/resume").json()["state"] == "waiting"
    assert waiting.post(f"/v1/jobs/{job['id']}/stop").json()["state"] == "stopped"
    assert waiting.get(f"/v1/jobs/{job['id']}").json()["state"] == "stopped"
    over = waiting.post(f"/v1/jobs/{job['id']}/resume")
    assert (over.status_code, over.json()["error"]) == (409, "UsageError")
    assert {"pid", "born_s", "key"}.isdisjoint(job)


def test_what_cannot_be_done_is_refused(waiting: TestClient) -> None:
    for body in (
        {"kind": "tune"},
        {"kind": "recheck"},
        {"kind": "recheck", "plan": "../../etc/passwd"},
        {"kind": "verify", "model": "shapes"},
        {"model": "shapes", "prompts": "/etc/passwd"},
        {"model": "/etc"},
        {"model": "shapes", "budget_s": 1e9},
        {"model": "shapes", "steps": "4"},
        {"model": "shapes", "architectures": ["sd"]},
    ):
        response = waiting.post("/v1/jobs", json=body)
        assert response.status_code == 422, body
        assert response.json()["message"].endswith("."), body
    assert waiting.get("/v1/jobs").json()["jobs"] == []
    for path in ("", "/events"):
        assert waiting.get(f"/v1/jobs/{UNKNOWN}{path}").status_code == 404
    assert waiting.post(f"/v1/jobs/{UNKNOWN}/cancel").status_code == 404


def test_too_many_are_refused_for_now(waiting: TestClient) -> None:
    answers = [waiting.post("/v1/jobs", json={"model": f"model-{number}"}) for number in range(17)]
    assert [answer.status_code for answer in answers] == [*[200] * 16, 429]
    assert answers[-1].headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("model", "allowed"),
    [
        ("flux-dev", True),
        ("org/name", True),
        ("org/name@main", True),
        ("/models/mine", True),
        ("/models/../etc/mine", False),
        ("/other/mine", False),
        ("./org", False),
        ("../name", False),
        ("~/name", False),
        ("org/name/more", False),
        ("", False),
        ("/models/\0", False),
    ],
)
def test_models_are_named_or_lie_below_a_folder_that_was_opened(
    monkeypatch: pytest.MonkeyPatch, model: str, *, allowed: bool
) -> None:
    monkeypatch.setenv("AUTOTUNE_MODELS", "/models:/srv/more")
    assert may_be_named(model) is allowed


def test_what_happens_is_told_as_it_does_and_from_any_event_on(live_url: str) -> None:
    job = post(live_url, "", {"model": "quick", "most_trials": 12})
    said = events(live_url, job["id"])
    assert said[-1]["event"] == "state"
    assert said[-1]["state"] == "done"
    assert [entry["event"] for entry in said].count("trial_end") == 12
    assert events(live_url, job["id"], after="5") == said[5:]
    assert events(live_url, job["id"], after=str(len(said))) == []
    assert httpx2.get(f"{live_url}/v1/jobs/{job['id']}").json()["trials"] == 12


def test_so_many_follow_and_no_more(live_url: str) -> None:
    job = post(live_url, "", {"model": "quick", "most_trials": 10_000})
    path = f"{live_url}/v1/jobs/{job['id']}/events"
    following = threading.Semaphore(0)

    def follow() -> None:
        with httpx2.stream("GET", path, timeout=20) as response:
            for line in response.iter_lines():
                if line == "id: 1":
                    following.release()

    followers = [threading.Thread(target=follow) for _ in range(MOST_FOLLOWERS)]
    for follower in followers:
        follower.start()
    assert all(following.acquire(timeout=20) for _ in followers)
    assert httpx2.get(path, timeout=20).status_code == 503
    post(live_url, f"/{job['id']}/cancel")
    for follower in followers:
        follower.join(20)
        assert not follower.is_alive()
