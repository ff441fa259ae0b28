"""The verdict: exact figures, and words that claim no more than they show."""

from __future__ import annotations

import re

import pytest

from autotune.planner.spot.verdict import Verdict, chance_of, rate_below, verdict
from autotune.store.blind import Answers, BlindSet, Kind, Screen, new_name


def answered(right: int, pairs: int = 40, *, missed: int = 0, lefts: int = 1) -> tuple[BlindSet, Answers]:
    """Return a set of which so many were answered rightly, with its controls."""
    kinds: list[Kind] = [*["pair"] * pairs, "damaged", "damaged", "identical", "identical"]  # type: ignore[list-item]
    screens, picked = [], []
    for place, kind in enumerate(kinds):
        left, right_one = new_name(), new_name()
        screens.append(
            Screen(kind=kind, prompt="a circle", left=left, right=right_one, other="" if kind == "identical" else left)
        )
        spotted = place < right if kind == "pair" else place - pairs >= missed
        if kind == "identical":
            spotted = place - pairs - 2 < lefts
        picked.append(left if spotted else right_one)
    blind = BlindSet(
        id=new_name(),
        model="shapes",
        scope="s",
        plan="p",
        recipe="precision=bf16",
        baseline="unmodified",
        made_at="2026-11-28T05:00:00+00:00",
        screens=tuple(screens),
    )
    return blind, Answers(picked=tuple(picked), finished_at="2026-11-28T05:10:00+00:00")


def told(right: int, pairs: int = 40, *, missed: int = 0) -> Verdict:
    found = verdict([answered(right, pairs, missed=missed)])
    assert found is not None
    return found


@pytest.mark.parametrize(("pairs", "needed"), [(10, 9), (20, 15), (40, 26), (60, 37), (100, 59)])
def test_as_many_are_needed_as_the_tables_say(pairs: int, needed: int) -> None:
    assert chance_of(needed, pairs) <= 0.05 < chance_of(needed - 1, pairs)
    assert told(needed, pairs).shown == "distinguishable"
    assert told(needed - 1, pairs).shown == "not shown"


@pytest.mark.parametrize(("pairs", "bound"), [(10, 0.78), (20, 0.70), (40, 0.64), (60, 0.61), (100, 0.59)])
def test_half_right_bounds_the_true_rate(pairs: int, bound: float) -> None:
    assert rate_below(pairs // 2, pairs) == pytest.approx(bound, abs=0.005)


def test_the_ends_of_the_scale() -> None:
    assert chance_of(0, 40) == 1.0
    assert rate_below(40, 40) == pytest.approx(1.0)
    assert rate_below(0, 40) == pytest.approx(1 - 0.05 ** (1 / 40), abs=1e-6)


def test_it_never_says_that_they_are_the_same() -> None:
    for right in range(41):
        assert not re.search(r"identical|same|equal|indistinguishable", told(right).sentence)
    assert told(20).sentence == (
        "Not shown to be distinguishable: 20 of 40 spotted (p = 0.56); the true rate is below 0.64 at 95 %."
    )
    assert told(31).sentence == "Shown to be distinguishable: 31 of 40 spotted, by chance with p = 0.0003."


def test_who_misses_gross_damage_gives_no_verdict() -> None:
    assert told(20, missed=1).shown == "careless"
    assert told(40, missed=2).sentence == "No verdict: of the grossly damaged control images, 2 went by unseen."


def test_what_was_picked_of_identical_images_counts_for_nothing() -> None:
    outcomes = {verdict([answered(20, lefts=lefts)]) for lefts in (0, 1, 2)}
    assert {each.left_share for each in outcomes if each} == {0.0, 0.5, 1.0}
    assert len({each.sentence for each in outcomes if each}) == 1


def test_sets_add_up() -> None:
    found = verdict([answered(23), answered(24)])
    assert found is not None
    assert (found.sets, found.pairs, found.right) == (2, 80, 47)
    assert verdict([(answered(23)[0], Answers(picked=()))]) is None
