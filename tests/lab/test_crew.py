"""Machines of one study: what one of them hears of the others, and what a study makes of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from autotune.planner.lab import crew
from autotune.planner.lab.claims import Claims, helping
from autotune.planner.lab.crew import Shared
from autotune.planner.lab.job import Order
from autotune.search.bayesian import BayesianSampler
from autotune.search.measured import Trial
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.study import study
from autotune.store.run import Run, new_id, now

from ..search.test_study import SPACE, TOLERANCE, Formula, trial_of
from ..store.samples import MACHINE, SCOPE

if TYPE_CHECKING:
    import pytest

BF16, TOME = Recipe(turned={"precision": "bf16"}), Recipe(turned={"tome_ratio": 0.25})


class Driver:
    """Answers a machine; `others` are trials that another has ended, told one before each answer."""

    def __init__(self, others: list[Trial], theirs: tuple[Recipe, ...] = (), over_after: int = 10**9) -> None:
        self.said: list[dict[str, Any]] = []
        self.claims = Claims(machines=["one", "two"])
        for recipe in theirs:
            assert self.claims.claim("two", recipe.key)
        self.others, self.over_after = others, over_after
        self.crew = Shared(self.answer)

    def answer(self, said: dict[str, Any]) -> None:
        self.said.append(said)
        if "trying" not in said:
            return
        if self.others and self.claims.ended(trial := self.others.pop(0)):
            self.tell({"trial": trial.model_dump(mode="json")})
        for machine, recipes in self.claims.theirs():
            if machine == "one":
                self.tell({"theirs": recipes})
        yours = self.claims.claim("one", said["trying"])
        self.tell({"yours" if yours else "taken": said["trying"]})
        if len(self.said) >= self.over_after:
            self.tell({"over": True})

    def tell(self, said: dict[str, Any]) -> None:
        self.crew.hear(json.dumps(said))

    def search(self, most: int = 100, limit_s: float = 60) -> tuple[Formula, list[Trial]]:
        evaluator, sampler = Formula(), BayesianSampler(SPACE, "cpu", TOLERANCE)
        self.crew.join(sampler.leave)
        happened = study(evaluator, sampler, (), TOLERANCE, time.monotonic() + limit_s, most, crew=self.crew)
        return evaluator, [event for event in happened if isinstance(event, Trial)]


def test_what_others_tried_counts_and_is_not_repeated() -> None:
    driver = Driver([trial_of(7, BF16, 600.0), trial_of(8, TOME, 950.0)])
    evaluator, trials = driver.search(most=12)
    assert len(trials) == 12
    assert {*evaluator.tried}.isdisjoint({BF16.key, TOME.key})
    assert len(evaluator.tried) == 10
    assert min(evaluator.best) <= 600, "another's best counts too"
    assert driver.crew.heard == {BF16.key, TOME.key}
    assert driver.said[-1] == {"searched": True}


def test_what_others_try_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "LAST_S", 0.1)
    driver = Driver([], theirs=(BF16, TOME))
    evaluator, _ = driver.search(most=8, limit_s=1)
    assert {*evaluator.tried}.isdisjoint({BF16.key, TOME.key})
    assert driver.crew.trying == 2


def test_who_helps_ends_when_it_is_over() -> None:
    driver = Driver([], over_after=5)
    driver.crew.helps = True
    evaluator, _ = driver.search()
    assert len(evaluator.tried) <= 5


def test_what_a_lost_machine_tried_is_free_again() -> None:
    claims = Claims(machines=["one", "two"])
    assert claims.claim("two", BF16.key)
    assert not claims.claim("one", BF16.key)
    assert dict(claims.theirs()) == {"one": [BF16.key]}
    claims.left("two")
    assert dict(claims.theirs()) == {"one": []}
    assert claims.claim("one", BF16.key)
    assert claims.ended(trial_of(1, BF16, 600.0))
    assert not claims.ended(trial_of(1, BF16, 600.0))
    assert not claims.claim("one", BF16.key)


def test_no_trial_is_one_too_many() -> None:
    claims = Claims(most=2, machines=["one", "two"])
    assert claims.claim("one", BF16.key)
    assert claims.claim("two", TOME.key)
    assert not claims.claim("three", UNMODIFIED.key)
    assert claims.ended(trial_of(1, BF16, 600.0))
    assert not claims.claim("one", UNMODIFIED.key)
    claims.left("two")
    assert claims.claim("one", UNMODIFIED.key)


def test_help_ends_with_the_search_that_it_is_for() -> None:
    run = Run(id=new_id(), scope=SCOPE, state="new", started_at=now(), trials=(trial_of(0, UNMODIFIED, 1000.0),))
    order = Order(request={"model": "shapes", "budget_s": 1200.0, "fresh": True})
    later = helping(order, run, MACHINE, 300)
    assert later
    assert later.request["budget_s"] == 800, "600 of 900 s of searching are left, and that is three quarters of it"
    assert helping(order, run, MACHINE, 850) is None
    helped = helping(order, run, MACHINE, 0)
    assert helped
    assert helped.helps
    assert helped.request["fresh"] is False
