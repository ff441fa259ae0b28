"""The store is damaged under a daemon that serves from it: no plan is served that was not measured as it is told."""

from __future__ import annotations

import random

import pytest
from starlette.testclient import TestClient

from autotune.planner.choose import Answer
from autotune.planner.daemon.app import create_app
from autotune.store.places import data_dir
from autotune.store.store import FILE_NAME, Store

from ..daemon.conftest import BASE_URL
from ..daemon.family import FAMILY, GIB, MACHINE, keep
from .settings import MORE

DAMAGES = 500 * MORE


@pytest.mark.parametrize("damages", [60, pytest.param(DAMAGES, marks=pytest.mark.slow)])
def test_no_wrong_plan_is_served(damages: int) -> None:
    keep()
    path = data_dir() / FILE_NAME
    with Store.read() as store:
        truth = {plan.id: plan for plan in store.plans("shapes")}
    whole, rng = path.read_bytes(), random.Random(damages)
    fastest = min(truth.values(), key=lambda plan: plan.latency.median_ms)
    ask = TestClient(create_app(probe=lambda: MACHINE, free_memory=lambda _: {"cpu": 100 * GIB}), base_url=BASE_URL)
    seen = {"right": 0, "another": 0, "refused": 0}
    for _ in range(damages):
        at, length = rng.randrange(len(whole)), rng.choice((1, 16, 16, 512))
        path.write_bytes(whole[:at] + rng.randbytes(length) + whole[at + length :])
        response = ask.get("/v1/plan", params={"model": "shapes"})
        if response.status_code == 503:
            seen["refused"] += 1
            continue
        assert response.status_code == 200, response.text
        plan = Answer.model_validate_json(response.text).plan
        assert plan == truth[plan.id]
        seen["right" if plan == fastest else "another"] += 1
        if plan != fastest:
            with Store.read() as store:
                assert store.damage
    assert len(truth) == len(FAMILY)
    assert seen["right"] > damages / 4
    assert seen["refused"] > 0
