"""What each choice did, by trials that differ in it alone."""

from __future__ import annotations

import pytest

from autotune.planner.importance import effects
from autotune.search.measured import Latency, Trial
from autotune.search.recipe import UNMODIFIED, Recipe


def trial(ms: float | None, drift: float = 1.0, **turned: str | float) -> Trial:
    return Trial(
        number=0,
        recipe=Recipe(turned=dict(turned)),
        outcome="ok" if ms else "crashed",
        latency=Latency(samples_ms=(ms,)) if ms else None,
        drift=drift,
        started_at="",
        duration_s=1,
    )


def test_the_strongest_comes_first_and_only_pairs_count() -> None:
    found = effects(
        [
            trial(100.0),
            trial(50.0, precision="bf16"),
            trial(90.0, tome_ratio=0.5),
            trial(40.0, precision="bf16", tome_ratio=0.5),
            trial(300.0, compile="full", precision="fp16"),
            trial(None, memory_format="channels_last"),
        ]
    )
    assert [(effect.knob, effect.choice, effect.pairs) for effect in found] == [
        ("precision", "bf16", 2),
        ("tome_ratio", 0.5, 2),
    ]
    assert found[0].times_as_fast == pytest.approx((2 * 90 / 40) ** 0.5)
    assert found[1].times_as_fast == pytest.approx((100 / 90 * 50 / 40) ** 0.5)


def test_a_choice_that_made_it_slower_is_one_too() -> None:
    [effect] = effects([trial(200.0, compile="full"), trial(100.0)])
    assert effect.knob == "compile"
    assert effect.times_as_fast == pytest.approx(0.5)


def test_trials_beside_others_are_compared_as_the_machine_was() -> None:
    [effect] = effects([trial(100.0), trial(100.0, drift=2.0, precision="bf16")])
    assert effect.times_as_fast == pytest.approx(2)
    assert effects([trial(100.0)]) == ()
    assert trial(100.0).recipe == UNMODIFIED
