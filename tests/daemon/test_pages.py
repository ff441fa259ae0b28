"""The pages: each answers, has its twin in JSON, and asks for nothing elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from autotune.planner.daemon.app import create_app
from autotune.planner.pages.account import Account
from autotune.store.job import Job, Order
from autotune.store.store import Store
from autotune.tests.pages import tuned
from autotune.tests.spot import pictures

from .conftest import KNOWS
from .family import MACHINE, keep

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient

JOB = Job(
    id="01a22000-0000-7000-8000-000000000001",
    key="0" * 16,
    order=Order(model="shapes", budget_s=600.0, most_trials=12, idle_only=True),
    state="done",
    detail="nothing better is expected",
    created_at="2026-11-28T05:00:00+00:00",
)
BROWSER = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """The addresses of one page of each kind, and of its twin."""
    run = tuned.keep()
    _, (plan, _) = tuned.run(name=run)
    blind = pictures.kept(tmp_path)
    with Store.open() as store:
        store.keep_job(JOB.model_copy(update={"run": run}))
    return {
        "/": "/v1/overview",
        "/models/shapes": "/v1/models/shapes",
        f"/models/shapes?run={run}": f"/v1/models/shapes?run={run}",
        "/history/shapes": "/v1/history/shapes",
        f"/compare?a={run}&b={run}": f"/v1/compare?a={run}&amp;b={run}",
        f"/plans/{plan.id}": f"/v1/plans/{plan.id}",
        f"/trials/{run}/1/shapes": f"/v1/trials/{run}/1/shapes",
        f"/blind/{blind.id}": f"/v1/blind/{blind.id}",
        "/jobs": "/v1/jobs",
        "/spot": "/v1/spot",
        f"/spot?plan={plan.id}": "/v1/spot",
        f"/jobs/{JOB.id}": f"/v1/jobs/{JOB.id}",
    }


def test_every_page_answers_and_names_its_twin(ask: TestClient, places: dict[str, str]) -> None:
    for page, twin in places.items():
        shown = ask.get(page, headers=BROWSER)
        assert shown.status_code == 200, page
        assert shown.headers["content-type"].startswith("text/html")
        assert f'href="{twin}"' in shown.text
        said = ask.get(twin.replace("&amp;", "&"))
        assert said.status_code == 200, twin
        assert said.json()["schema_version"] == 1


def test_every_kind_of_page_is_tried_here(places: dict[str, str]) -> None:
    routes = [route.path for route in create_app().routes]  # type: ignore[attr-defined]
    pages = {route.split("/")[1] for route in routes if not route.startswith("/v1")}
    parts = {"images", "metrics", "now", "static"}
    assert pages - parts == {place.partition("?")[0].split("/")[1] for place in places}


def test_no_page_asks_for_anything_elsewhere_or_runs_what_stands_in_it(ask: TestClient, places: dict[str, str]) -> None:
    for page in places:
        text = ask.get(page, headers=BROWSER).text
        assert not re.search(r"https?://|//[a-z]", re.sub(r'xmlns="[^"]*"', "", text)), page
        assert not re.search(r"<script(?! src=)|\son[a-z]+=|style=|javascript:", text), page
        for image in re.findall(r"<img [^>]*>", text):
            assert 'alt="' in image
        for file in {*re.findall(r'(?:src|href)="(/(?:static|images|blind)/[^"]*\.[a-z]+)"', text)}:
            assert ask.get(file).status_code == 200, file


def test_programs_that_ask_for_the_root_get_json(ask: TestClient) -> None:
    assert ask.get("/").json()["name"] == "autotune"
    assert ask.get("/", headers={"accept": "*/*"}).json()["name"] == "autotune"


def test_an_empty_store_says_how_to_begin(ask: TestClient) -> None:
    assert "autotune --model shapes" in ask.get("/", headers=BROWSER).text


def test_what_is_not_there_is_a_page_for_people_and_json_for_programs(ask: TestClient) -> None:
    for place in ("/models/nothing", "/history/nothing", "/plans/0123456789abcdef", "/blind/" + "f" * 32):
        shown = ask.get(place, headers=BROWSER)
        assert (shown.status_code, "That is not here" in shown.text) == (404, True)
        assert ask.get("/v1" + place).json()["error"] == "NoPlanError"
    for place in ("/static/app.py", "/images/" + "0" * 64 + ".png", "/static/..%2fapp.py"):
        assert ask.get(place).status_code in {404, 422}


def test_the_twin_of_a_model_is_the_account_that_a_report_is_made_of(ask: TestClient) -> None:
    tuned.keep()
    told = Account.model_validate_json(ask.get("/v1/models/shapes").text)
    assert told.model == "shapes"
    assert len(told.dots) == 40


def test_a_search_that_goes_on_is_seen_as_it_is_now(ask: TestClient) -> None:
    tuned.keep(5, finished=False)
    assert len(ask.get("/v1/models/shapes").json()["dots"]) == 5
    tuned.keep(8)
    assert len(ask.get("/v1/models/shapes").json()["dots"]) == 8


def test_a_job_says_what_was_asked_for_and_leads_to_what_was_found(ask: TestClient, places: dict[str, str]) -> None:
    page = ask.get(f"/jobs/{JOB.id}", headers=BROWSER).text
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "Tune shapes" in said
    assert "budget 600 s most trials 12 idle only yes" in said
    run = next(place for place in places if place.startswith("/models/shapes?"))
    assert f'href="{run}"' in page
    table = ask.get("/jobs", headers=BROWSER).text
    assert f'href="/jobs/{JOB.id}"' in table
    assert "nothing better is expected" in table


def test_a_plan_says_that_it_is_stale_and_why(ask: TestClient) -> None:
    software = MACHINE.software.model_copy(update={"versions": {"torch": "2.12.1", "diffusers": "0.42.1"}})
    run = tuned.keep(machine=MACHINE.model_copy(update={"software": software}))
    plan = next(line for line in ask.get("/v1/plans").json()["plans"])
    said = ask.get(f"/v1/plans/{plan['id']}").json()
    assert said["stale_reasons"] == ["torch 2.12.1 -> 2.13.0"]
    assert "stale" in ask.get(f"/plans/{plan['id']}", headers=BROWSER).text
    assert run


def test_the_history_says_what_changed(ask: TestClient) -> None:
    software = MACHINE.software.model_copy(update={"versions": {"torch": "2.12.1", "diffusers": "0.42.1"}})
    gpu = MACHINE.accelerators[0].model_copy(update={"driver": "535.10"})
    tuned.keep(machine=MACHINE.model_copy(update={"software": software, "accelerators": (gpu,)}))
    tuned.keep()
    newest, oldest = ask.get("/v1/history/shapes").json()["runs"]
    assert newest["changes"] == ["accelerators 0 driver 535.10 -> 550.54", "torch 2.12.1 -> 2.13.0"]
    assert oldest["changes"] == []


def test_plans_without_trials_are_shown_too(ask: TestClient) -> None:
    keep()
    assert ask.get("/models/shapes", headers=BROWSER).status_code == 200
    assert "4 plans" not in ask.get("/", headers=BROWSER).text


def test_a_code_opens_once_and_only_who_knows_the_token_makes_one(ask: TestClient) -> None:
    assert ask.post("/v1/doors").status_code == 401
    code = ask.post("/v1/doors", headers=KNOWS).json()["code"]
    assert ask.get(f"/v1/doors/{code}").json()["token"] == KNOWS["authorization"].removeprefix("Bearer ")
    assert ask.get(f"/v1/doors/{code}").status_code == 404
    assert ask.get("/v1/doors/" + "A" * 22).status_code == 404


def test_no_page_holds_the_token(ask: TestClient, places: dict[str, str]) -> None:
    secret = KNOWS["authorization"].removeprefix("Bearer ")
    for place in (*places, *places.values(), "/static/app.js"):
        assert secret not in ask.get(place, headers=BROWSER).text
