"""What fails is learnt: where memory ends, what does not run together, and what a trial that was given up says."""

from __future__ import annotations

import statistics
from itertools import product

import numpy as np

from autotune.search.heard import Heard
from autotune.search.measured import Latency, Outcome, Trial
from autotune.search.recipe import Choice, Recipe
from autotune.search.replay.cliff import cliff
from autotune.search.replay.evaluator import TableEvaluator, search_table
from autotune.search.replay.table import TableSpace
from autotune.search.samplers import sampler_of
from autotune.search.surrogate import Kinship, Surrogate

CHOICES: dict[str, tuple[Choice, ...]] = {"a": ("x", "y"), "b": ("p", "q"), "c": (1, 2, 4, 8)}


def space() -> TableSpace:
    recipes = [Recipe(turned=dict(zip(CHOICES, row, strict=True))) for row in product(*CHOICES.values())]
    return TableSpace(CHOICES, {recipe.key: recipe for recipe in recipes}, {})


def trial(number: int, outcome: Outcome, **turned: Choice) -> Trial:
    latency = Latency(samples_ms=(10.0,)) if outcome == "ok" else None
    return Trial(
        number=number, recipe=Recipe(turned=turned), outcome=outcome, latency=latency, started_at="", duration_s=1
    )


def test_beyond_a_memory_cliff_few_trials_are_made_after_the_tenth() -> None:
    shares = []
    for seed in range(4):
        table = cliff(seed)
        assert len(table.feasible) == len(table.rows) / 2
        sampler = sampler_of("bayesian", table.space, seed)
        search = search_table(TableEvaluator(table, noise_cv=0.03, seed=seed), table, sampler, 40)
        assert len(search.steps) > 15
        shares.append(statistics.fmean(step.objective is None for step in search.steps[10:]))
    assert statistics.fmean(shares) <= 0.15


def test_two_choices_that_only_crash_together_are_given_up_together() -> None:
    heard = Heard(space(), 0.0)
    heard.tell(trial(0, "ok", a="x", b="q", c=1))
    heard.tell(trial(1, "ok", a="y", b="p", c=1))
    for number, size in enumerate((1, 2, 4)):
        assert heard.is_open(Recipe(turned={"a": "x", "b": "p", "c": 8}))
        given_up = heard.tell(trial(2 + number, "crashed", a="x", b="p", c=size))
    assert given_up == {frozenset({("a", "x"), ("b", "p")})}
    assert not heard.is_open(Recipe(turned={"a": "x", "b": "p", "c": 8}))
    assert heard.is_open(Recipe(turned={"a": "x", "b": "q", "c": 8}))


def test_what_does_not_fit_gives_up_no_pair() -> None:
    heard = Heard(space(), 0.0)
    heard.tell(trial(0, "ok", a="x", b="q", c=1))
    heard.tell(trial(1, "ok", a="y", b="p", c=1))
    for number, size in enumerate((2, 4, 8)):
        assert not heard.tell(trial(2 + number, "out_of_memory", a="x", b="p", c=size))
    assert heard.is_open(Recipe(turned={"a": "x", "b": "p", "c": 1}))


def test_a_bound_is_taken_as_at_least_so_much() -> None:
    """Of an additive effect, the largest are cut off: who takes the bounds for values predicts too little."""
    kinship = Kinship(CHOICES)
    rows = list(product(*CHOICES.values()))
    codes = np.array([kinship.code(dict(zip(CHOICES, row, strict=True))) for row in rows])
    truth = np.array([2.0 * (a == "y") + 1.0 * (b == "q") + 0.1 * float(c) for a, b, c in rows])
    bounded = truth > 2.9
    assert 2 <= bounded.sum() < len(rows) / 2
    seen = np.where(bounded, 2.0, truth)
    among = kinship.features(codes, codes)
    naive = Surrogate.fit(among, seen).predict(among)[0]
    aware = Surrogate.fit_bounded(among, seen, bounded).predict(among)[0]
    assert np.abs(aware - truth)[bounded].mean() < np.abs(naive - truth)[bounded].mean() * 0.75
    assert Surrogate.fit_bounded(among, truth, truth > 9).predict(among)[0].tolist() == (
        Surrogate.fit(among, truth).predict(among)[0].tolist()
    )
