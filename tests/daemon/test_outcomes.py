"""What apps say of a plan is kept and has consequences: a plan that fails them is given no more."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from autotune.errors import StoreError
from autotune.planner.choose import Answer, needs_bytes
from autotune.planner.daemon.app import BODY_LIMIT_BYTES
from autotune.planner.daemon.token import FILE_NAME, make_token, read_token
from autotune.planner.daemon.wire import Prediction, Refusal, Reported
from autotune.store.places import state_dir

from .conftest import BASE_URL, KNOWS, World
from .family import FAMILY, FAST, GIB, MIDDLE, SMALL, keep, keep_nothing


def answer(ask: TestClient, **query: str) -> Answer:
    response = ask.get("/v1/plan", params={"model": "shapes", **query})
    assert response.status_code == 200, response.text
    return Answer.model_validate_json(response.text)


def say(ask: TestClient, plan_id: str, outcome: str, **measured: object) -> Reported:
    response = ask.post(f"/v1/plans/{plan_id}/outcome", json={"outcome": outcome, **measured}, headers=KNOWS)
    assert response.status_code == 200, response.text
    return Reported.model_validate_json(response.text)


def test_a_plan_that_ran_out_of_memory_twice_is_given_no_more(ask: TestClient, world: World) -> None:
    keep()
    first = answer(ask)
    assert first.plan.recipe == FAST.recipe
    assert first.demoted == ()
    assert first.safer is not None
    assert say(ask, first.plan.id, "out_of_memory").demoted == ""
    assert answer(ask).plan.id == first.plan.id
    said = say(ask, first.plan.id, "out_of_memory", detail="tried to allocate 2 GiB")
    assert said.demoted == "ran out of memory 2 times in apps, at last with: tried to allocate 2 GiB"

    next_one = answer(ask)
    assert next_one.plan.id == first.safer.id
    assert next_one.demoted == (f"{FAST.recipe} is not given: it {said.demoted}.",)
    again = TestClient(world.app(), base_url=BASE_URL)  # after a restart
    assert answer(again).plan.id == first.safer.id


def test_a_plan_that_was_measured_anew_has_no_past(ask: TestClient) -> None:
    keep()
    for _ in range(2):
        say(ask, answer(ask).plan.id, "out_of_memory")
    keep()
    assert answer(ask).plan.recipe == FAST.recipe


def test_where_every_plan_failed_there_is_none(ask: TestClient) -> None:
    keep()
    for _ in FAMILY:
        plan_id = answer(ask).plan.id
        say(ask, plan_id, "out_of_memory")
        say(ask, plan_id, "out_of_memory")
    refused = ask.get("/v1/plan", params={"model": "shapes"})
    assert refused.status_code == 404
    assert "use shapes unmodified" in Refusal.model_validate_json(refused.text).message


def test_errors_count_in_a_row_only(ask: TestClient) -> None:
    keep()
    plan_id = answer(ask).plan.id
    for outcome in ("error", "ok", "error"):
        assert say(ask, plan_id, outcome).demoted == ""
    assert say(ask, plan_id, "error").demoted == "failed 2 times in a row in apps"
    assert answer(ask).plan.recipe == MIDDLE.recipe


def test_what_it_took_in_life_corrects_what_it_needs(ask: TestClient, world: World) -> None:
    keep()
    plan_id = answer(ask).plan.id
    say(ask, plan_id, "ok", latency_ms=51, peak_bytes=6 * GIB)
    needs = answer(ask).needs_bytes
    assert needs > 6 * GIB > needs_bytes(FAST)
    world.free_bytes = {"cpu": 5 * GIB}  # which suffices for what was measured
    assert answer(ask).plan.recipe == MIDDLE.recipe
    world.free_bytes = {"cpu": needs}
    assert answer(ask).plan.recipe == FAST.recipe
    say(ask, plan_id, "out_of_memory", free_bytes=needs)
    assert answer(ask).plan.recipe == MIDDLE.recipe
    world.free_bytes = {"cpu": needs + 1}
    assert answer(ask).plan.recipe == FAST.recipe


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"outcome": "fine"},
        {"outcome": "ok", "latency_ms": 0},
        {"outcome": "ok", "latency_ms": "12"},
        {"outcome": "ok", "peak_bytes": -1},
        {"outcome": "ok", "peak_bytes": 1.5},
        {"outcome": "ok", "free_bytes": 2**60},
        {"outcome": "ok", "detail": "x" * 301},
        {"outcome": "ok", "plan": "x"},
        [],
        "ok",
    ],
    ids=str,
)
def test_reports_that_make_no_sense_are_refused(ask: TestClient, body: Any) -> None:
    keep()
    response = ask.post(f"/v1/plans/{answer(ask).plan.id}/outcome", json=body, headers=KNOWS)
    assert response.status_code == 422
    assert Refusal.model_validate_json(response.text).message.endswith(".")


@pytest.mark.parametrize("content", ["", "{", '{"outcome": "ok", "latency_ms": NaN}', "\x00", "[" * 10_000])
def test_what_is_no_json_is_refused(ask: TestClient, content: str) -> None:
    keep()
    headers = {**KNOWS, "content-type": "application/json"}
    response = ask.post(f"/v1/plans/{answer(ask).plan.id}/outcome", content=content, headers=headers)
    assert response.status_code in {400, 422}, response.text
    Refusal.model_validate_json(response.text)


def test_nothing_is_kept_for_a_plan_that_is_not_there(ask: TestClient) -> None:
    keep()
    for plan_id, status in (("0" * 16, 404), ("x", 422), ("..%2f..", 404), ("A" * 16, 422)):
        response = ask.post(f"/v1/plans/{plan_id}/outcome", json={"outcome": "ok"}, headers=KNOWS)
        assert response.status_code == status
    large = {"outcome": "ok", "detail": "x" * BODY_LIMIT_BYTES}
    assert ask.post(f"/v1/plans/{'0' * 16}/outcome", json=large, headers=KNOWS).status_code == 413


def test_quality_and_device_are_asked(ask: TestClient) -> None:
    keep()
    assert answer(ask, device="cpu").plan.recipe == FAST.recipe
    for query, words in (({"device": "cuda:0"}, "none on cuda:0"), ({"min_quality": "0.9"}, "surely keeps 0.9")):
        refused = ask.get("/v1/plan", params={"model": "shapes", **query})
        assert refused.status_code == 404
        assert words in Refusal.model_validate_json(refused.text).message


def test_what_was_never_tuned_is_predicted(ask: TestClient, world: World) -> None:
    def predicted(**query: str) -> Prediction:
        response = ask.get("/v1/plan", params={"model": "shapes", **query})
        assert response.status_code == 200, response.text
        return Prediction.model_validate_json(response.text)

    world.free_bytes = {"cpu": 100 * GIB, "cuda:0": 70 * GIB}
    plenty = predicted()
    assert (plenty.known, plenty.fits, plenty.device, plenty.free_bytes) == ("predicted", True, "cuda", 70 * GIB)
    assert "run `autotune --model shapes`" in plenty.asked
    assert plenty.call["num_inference_steps"] == plenty.workload.steps
    assert predicted(steps="7").call["num_inference_steps"] == 7
    assert predicted(max_memory=str(plenty.needs_bytes)).apply == plenty.apply
    less = predicted(max_memory=str(plenty.needs_bytes - 1))
    assert less.needs_bytes < plenty.needs_bytes
    world.free_bytes = {"cpu": 0, "cuda:0": 0}
    assert not predicted().fits
    keep_nothing("shapes", finished=True)
    assert ask.get("/v1/plan", params={"model": "shapes"}).status_code == 404


@pytest.mark.parametrize("name", ["/etc/passwd", "org/name", "mine", "Shapes"])
def test_only_names_of_the_catalogue_are_predicted(ask: TestClient, name: str) -> None:
    assert ask.get("/v1/plan", params={"model": name}).status_code == 404


def test_the_token_is_private_and_stays(tmp_path: Path) -> None:
    assert read_token() == ""
    token = make_token()
    file = state_dir() / FILE_NAME
    assert len(token) >= 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == [FILE_NAME]
    assert make_token() == read_token() == token
    assert tmp_path in file.parents


def test_a_token_that_is_none_is_refused() -> None:
    file = state_dir() / FILE_NAME
    file.touch(0o600)
    with pytest.raises(StoreError, match="holds no token"):
        make_token()
    file.unlink()
    make_token()
    file.chmod(0o644)
    with pytest.raises(StoreError, match="can be read by other users"):
        make_token()


def test_the_smallest_plan_is_served_when_the_others_failed(ask: TestClient) -> None:
    keep()
    for _ in range(2):
        plan_id = answer(ask).plan.id
        say(ask, plan_id, "out_of_memory")
        say(ask, plan_id, "out_of_memory")
    last = answer(ask)
    assert (last.plan.recipe, len(last.demoted)) == (SMALL.recipe, 2)
