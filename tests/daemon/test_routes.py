"""What the routes say, in good days and in bad ones."""

from __future__ import annotations

import json
import sqlite3
import threading
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from autotune.planner.choose import Answer, needs_bytes
from autotune.planner.daemon.app import OPENAPI_PATH, create_app
from autotune.planner.daemon.wire import Health, MachineNow, PlanList, Refusal, Welcome, bytes_of
from autotune.store.places import data_dir
from autotune.store.store import FILE_NAME

from .conftest import BASE_URL, World
from .family import FAST, GIB, MACHINE, MIDDLE, SMALL, WORKLOAD, keep, keep_nothing, plan_of

NOT_SEEN = ("This machine is not known yet (its drivers have not answered yet): ask again in a second.",)


ROUTES = {
    "/": {"get"},
    "/metrics": {"get"},
    "/v1/health": {"get"},
    "/v1/machine": {"get"},
    "/v1/plan": {"get"},
    "/v1/plans": {"get"},
    "/v1/plans/{plan_id}/outcome": {"post"},
    "/v1/overview": {"get"},
    "/v1/compare": {"get"},
    "/v1/models/{model}": {"get"},
    "/v1/history/{model}": {"get"},
    "/v1/plans/{plan_id}": {"get"},
    "/v1/trials/{run}/{number}/{model}": {"get"},
    "/v1/blind/{name}": {"get"},
    "/v1/spot": {"get"},
    "/v1/blind/{name}/answers": {"post"},
    "/v1/doors": {"post"},
    "/v1/doors/{code}": {"get"},
    "/v1/jobs": {"get", "post"},
    "/v1/jobs/{job_id}": {"get"},
    "/v1/jobs/{job_id}/events": {"get"},
    **{f"/v1/jobs/{{job_id}}/{command}": {"post"} for command in ("pause", "resume", "stop", "cancel")},
}


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def content(ask: TestClient, path: str, **query: object) -> Any:
    """Return the JSON of a good answer, which must be JSON to the letter."""
    response = ask.get(path, params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    return json.loads(response.text, parse_constant=refuse_constant)


def refused(ask: TestClient, status: int, **query: object) -> Refusal:
    response = ask.get("/v1/plan", params={name: str(value) for name, value in query.items()})
    assert response.status_code == status, response.text
    assert ("retry-after" in response.headers) is (status == 503)
    return Refusal.model_validate_json(response.text)


def answer(ask: TestClient, **query: object) -> Answer:
    return Answer.model_validate_json(json.dumps(content(ask, "/v1/plan", model="shapes", **query)))


def test_the_welcome_lists_the_routes(ask: TestClient) -> None:
    welcome = Welcome.model_validate_json(json.dumps(content(ask, "/")))
    assert welcome.name == "autotune"
    assert {route.replace(":path", "") for route in welcome.routes} >= {OPENAPI_PATH, *ROUTES}


def test_plans_change_with_the_memory_that_is_free(ask: TestClient, world: World) -> None:
    keep()
    for free_bytes, plan in ((100 * GIB, FAST), (3 * GIB, MIDDLE), (2 * GIB, SMALL)):
        world.free_bytes = {"cpu": free_bytes}
        found = answer(ask)
        assert found.plan.recipe == plan.recipe
        assert (found.fits, found.free_bytes, found.needs_bytes) == (True, free_bytes, needs_bytes(plan))
    world.free_bytes = {"cpu": 0}
    assert (answer(ask).plan.recipe, answer(ask).fits) == (SMALL.recipe, False)


def test_the_question_is_passed_on(ask: TestClient) -> None:
    keep()
    assert answer(ask, max_memory="3GiB").plan.recipe == MIDDLE.recipe
    assert answer(ask, max_memory=2 * GIB).plan.recipe == SMALL.recipe
    assert answer(ask, revision="0123").stale_reasons == ()
    assert answer(ask, revision="4567").stale_reasons == ("model revision 0123 -> 4567",)
    found = answer(ask, width=256, height=192, steps=4, guidance="7.5", batch=2)
    assert found.call == {"num_inference_steps": 4, "guidance_scale": 7.5, "width": 256, "height": 192}
    assert "256x192, 4 steps, guidance 7.5, batch 2" in found.asked
    assert answer(ask, width=128, height=128, steps=20, guidance="4").asked == ""


def test_an_upgrade_makes_plans_stale(ask: TestClient, world: World) -> None:
    keep()
    software = MACHINE.software.model_copy(update={"versions": {"torch": "2.14.0", "diffusers": "0.42.1"}})
    world.machine = MACHINE.model_copy(update={"software": software})
    assert answer(ask).stale_reasons == ("torch 2.13.0 -> 2.14.0",)


def test_an_interrupted_search_does_not_push_a_finished_one_aside(ask: TestClient) -> None:
    keep([plan_of("finished")])
    keep([plan_of("interrupted", ms=1.0)], finished=False)
    assert answer(ask).apply == {"precision": "finished"}
    keep([plan_of("newer")])
    assert answer(ask).apply == {"precision": "newer"}


def test_an_interrupted_search_is_better_than_nothing(ask: TestClient) -> None:
    keep(finished=False)
    assert answer(ask).plan.recipe == FAST.recipe


def test_no_plan_is_a_sentence_that_says_what_to_run(ask: TestClient) -> None:
    nothing = refused(ask, 404, model="mine")
    assert nothing.error == "NoPlanError"
    assert nothing.message == "There is no plan for mine yet: run `autotune --model mine`."
    keep()
    near = refused(ask, 404, model="shape")
    assert near.near == ("shapes",)
    assert near.message.endswith("run `autotune --model shape`. Did you mean shapes?")
    assert refused(ask, 404, model="flux").near == ()
    assert "org/name@v1.0" in refused(ask, 404, model="org/name@v1.0").message


def test_a_search_without_a_winner_says_so(ask: TestClient) -> None:
    keep_nothing("going", finished=False)
    keep_nothing("gone", finished=True)
    assert "has not ended" in refused(ask, 404, model="going").message
    assert "nothing that was tried is faster" in refused(ask, 404, model="gone").message


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"model": ""},
        {"model": "../../etc/passwd"},
        {"model": "a/../b"},
        {"model": "a b"},
        {"model": "a\x00b"},
        {"model": "a\n"},
        {"model": "modèle"},
        {"model": "'; DROP TABLE plans; --"},
        {"model": "a" * 201},
        {"model": "shapes", "width": "7"},
        {"model": "shapes", "width": "-128"},
        {"model": "shapes", "width": "128.0"},
        {"model": "shapes", "width": "1_28"},
        {"model": "shapes", "width": " 128"},
        {"model": "shapes", "width": "１２８"},  # noqa: RUF001 - digits of another script are what is tested
        {"model": "shapes", "width": "9" * 5000},
        {"model": "shapes", "width": ""},
        {"model": "shapes", "steps": "0"},
        {"model": "shapes", "steps": "true"},
        {"model": "shapes", "batch": "0"},
        {"model": "shapes", "guidance": "nan"},
        {"model": "shapes", "guidance": "inf"},
        {"model": "shapes", "guidance": "-1"},
        {"model": "shapes", "guidance": "1e3"},
        {"model": "shapes", "max_memory": "-1"},
        {"model": "shapes", "max_memory": "lots"},
        {"model": "shapes", "max_memory": "3 GiB"},
        {"model": "shapes", "max_memory": "1.5"},
        {"model": "shapes", "max_memory": "nan"},
        {"model": "shapes", "revision": "../main"},
        {"model": "shapes", "colour": "red"},
    ],
    ids=lambda query: "&".join(f"{name}={value[:20]!a}" for name, value in query.items()),
)
def test_bad_parameters_are_refused_in_a_sentence(ask: TestClient, query: dict[str, str]) -> None:
    refusal = refused(ask, 422, **query)
    assert refusal.error == "UsageError"
    assert refusal.message.endswith(".")
    assert len(refusal.message) < 400


def test_a_parameter_has_one_value(ask: TestClient) -> None:
    response = ask.get("/v1/plan?model=shapes&model=flux")
    assert response.status_code == 422
    assert "model is given more than once" in response.json()["message"]


@pytest.mark.parametrize("path", ["/", "/v1/health", "/v1/machine", "/v1/plans", "/metrics"])
def test_routes_without_parameters_take_none(ask: TestClient, path: str) -> None:
    assert ask.get(path, params={"x": "1"}).status_code == 422


@pytest.mark.parametrize("path", ["/v1/plan/", "//v1/plan", "/v1/plan/shapes", "/v1/%2e%2e/x", "/docs", "/redoc"])
def test_there_is_nothing_else(ask: TestClient, path: str) -> None:
    response = ask.get(f"{BASE_URL}{path}", params={"model": "shapes"}, follow_redirects=False)
    assert response.status_code == 404


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.dictionaries(st.sampled_from(("model", "width", "max_memory", "x")) | st.text(), st.text(), max_size=4))
def test_no_question_breaks_it(ask: TestClient, query: dict[str, str]) -> None:
    response = ask.get("/v1/plan", params=query)
    assert response.status_code in {404, 422}
    Refusal.model_validate_json(response.text)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "folder", "row", "newer"])
def test_a_damaged_store_is_said(ask: TestClient, damage: str) -> None:
    keep()
    file = data_dir() / FILE_NAME
    whole = file.read_bytes()
    if damage == "garbage":
        file.write_bytes(b"\x5a" * len(whole))
    elif damage == "truncated":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        change = {
            "row": "UPDATE plans SET document = replace(document, '50.0', '10.0')",
            "newer": "PRAGMA user_version = 99",
        }
        with sqlite3.connect(file) as connection:
            connection.execute(change[damage])
        connection.close()
        if damage == "row":
            assert answer(ask).plan.recipe == MIDDLE.recipe  # what is sound is still served
            return
    refusal = refused(ask, 503, model="shapes")
    assert refusal.error == "StoreError"
    assert str(file) in refusal.message
    assert ask.get("/v1/plans").status_code == 503
    assert ask.get("/v1/health").status_code == 200


def test_a_store_that_cannot_be_opened_is_a_problem_of_health(ask: TestClient) -> None:
    keep()
    ask.get("/v1/machine")  # waits until the machine is known
    assert Health.model_validate_json(ask.get("/v1/health").text).problems == ()
    (data_dir() / FILE_NAME).write_bytes(b"garbage" * 1000)
    [problem] = Health.model_validate_json(ask.get("/v1/health").text).problems
    assert "damaged" in problem


def test_plans_are_listed_in_short(ask: TestClient) -> None:
    assert content(ask, "/v1/plans")["plans"] == []
    keep()
    keep([plan_of("bf16", model="another")])
    plans = PlanList.model_validate_json(json.dumps(content(ask, "/v1/plans"))).plans
    assert [(plan.model, plan.recipe) for plan in plans] == [
        ("another", "precision=bf16"),
        ("shapes", "precision=bf16"),
        ("shapes", "precision=int8"),
        ("shapes", "precision=int4"),
    ]
    assert (plans[1].latency_ms, plans[1].peak_memory_bytes, plans[1].workload) == (50.0, 4 * GIB, WORKLOAD)
    assert plans[1].id == answer(ask).plan.id


def test_the_machine_is_told_with_the_age_of_what_is_known(ask: TestClient, world: World) -> None:
    now = MachineNow.model_validate_json(json.dumps(content(ask, "/v1/machine")))
    assert (now.machine, now.fingerprint, now.software) == (MACHINE, MACHINE.fingerprint, MACHINE.software.key)
    world.free_bytes = {"cpu": 7}
    later = MachineNow.model_validate_json(json.dumps(content(ask, "/v1/machine")))
    assert later.age_s >= now.age_s >= 0
    assert later.free_bytes == {"cpu": 7}


def test_a_driver_that_thinks_keeps_nobody_waiting() -> None:
    hanging = threading.Event()

    def probe() -> Any:
        hanging.wait(30)
        return MACHINE

    with TestClient(create_app(probe=probe, free_memory=lambda _: {"cpu": GIB}), base_url=BASE_URL) as ask:
        try:
            assert Health.model_validate_json(ask.get("/v1/health").text).problems == NOT_SEEN
            assert refused(ask, 503, model="mine").message == NOT_SEEN[0]
        finally:
            hanging.set()
        assert refused(ask, 404, model="mine").error == "NoPlanError"


def test_a_broken_probe_is_said_and_tried_again() -> None:
    answers = iter([OSError("no /proc here"), MACHINE])

    def probe() -> Any:
        found = next(answers)
        if isinstance(found, OSError):
            raise found
        return found

    ask = TestClient(create_app(probe=probe, free_memory=lambda _: {"cpu": GIB}), base_url=BASE_URL)
    assert "OSError: no /proc here" in refused(ask, 503, model="mine").message
    assert refused(ask, 404, model="mine").error == "NoPlanError"


def test_the_schema_is_generated_and_says_everything(ask: TestClient) -> None:
    schema = content(ask, OPENAPI_PATH)
    assert {path: set(methods) for path, methods in schema["paths"].items()} == ROUTES
    plan = schema["paths"]["/v1/plan"]["get"]
    names = {parameter["name"]: parameter["required"] for parameter in plan["parameters"]}
    assert names.pop("model") is True
    assert not any(names.values())
    about_memory_and_model = {"max_memory", "min_quality", "device", "revision", "adapters", "distilled"}
    assert set(names) == {"width", "height", "steps", "guidance", "batch", "frames"} | about_memory_and_model
    assert {"200", "404", "422", "503"} <= set(plan["responses"])
    assert {"Answer", "Plan", "Prediction", "Refusal", "Report", "Reported"} <= set(schema["components"]["schemas"])


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("3221225472", 3 * GIB), ("3GiB", 3 * GIB), ("3.5GiB", 7 * GIB // 2), ("1MB", 10**6), ("2TiB", 2**41)],
)
def test_bytes_are_understood(text: str, count: int) -> None:
    assert bytes_of(text) == count


@given(count=st.integers(0, 10**15 - 1))
def test_a_plain_number_of_bytes_is_exact(count: int) -> None:
    assert bytes_of(str(count)) == count


@given(counts=st.lists(st.integers(0, 10**6), min_size=2, max_size=2), unit=st.sampled_from(("KiB", "MB", "GiB")))
def test_bytes_keep_their_order(counts: list[int], unit: str) -> None:
    low, high = sorted(counts)
    assert all(a <= b for a, b in pairwise(bytes_of(f"{count}{unit}") for count in (low, high)))
