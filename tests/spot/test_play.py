"""Answering a set: one screen after the other, kept at once, and nothing is told before the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import NoPlanError, UsageError
from autotune.planner.spot.play import Shown, answer, evidence, shown
from autotune.store.blind import BlindSet, answers_to, image_of, read_set

from .pictures import kept


def play(blind: BlindSet, *, spot: bool) -> Shown:
    """Answer a whole set; with `spot`, always rightly."""
    seen = shown(blind.id)
    while seen.state == "open":
        screen = blind.screens[seen.screen]
        wrong = {screen.left, screen.right} - {screen.other}
        right = screen.other or screen.left
        picked = right if spot or screen.kind != "pair" else wrong.pop()
        seen = answer(blind.id, seen.screen, picked)
    return seen


def test_a_set_is_answered_to_its_verdict(tmp_path: Path) -> None:
    blind = kept(tmp_path)
    seen = play(blind, spot=True)
    assert seen.verdict is not None
    assert (seen.verdict.right, seen.verdict.pairs, seen.verdict.shown) == (6, 6, "distinguishable")
    assert seen.recipe == "quantization=bnb_nf4"
    assert seen == shown(blind.id)


def test_nothing_is_told_before_the_end(tmp_path: Path) -> None:
    blind = kept(tmp_path)
    seen = shown(blind.id)
    told = seen.model_dump_json()
    assert not [word for word in ("bnb", "shapes", "damaged", "pair", "unmodified", "other") if word in told]
    for picked in (blind.screens[0].left, blind.screens[1].right):
        seen = answer(blind.id, seen.screen, picked)
        assert (seen.verdict, seen.recipe, seen.model, seen.baseline) == (None, "", "", "")


def test_each_answer_is_kept_at_once(tmp_path: Path) -> None:
    blind = kept(tmp_path)
    answer(blind.id, 0, blind.screens[0].left)
    assert answers_to(blind.id).picked == (blind.screens[0].left,)
    assert shown(blind.id).screen == 1


def test_answers_that_cannot_be_are_refused(tmp_path: Path) -> None:
    blind = kept(tmp_path)
    with pytest.raises(UsageError, match="not on this screen"):
        answer(blind.id, 0, blind.screens[1].left)
    with pytest.raises(UsageError, match="Screen 0 is to be answered"):
        answer(blind.id, 1, blind.screens[1].left)
    play(blind, spot=False)
    with pytest.raises(UsageError, match="Screen 10"):
        answer(blind.id, 10, blind.screens[0].left)
    with pytest.raises(NoPlanError, match="no such set"):
        answer("f" * 32, 0, blind.screens[0].left)


def test_images_go_with_the_last_answer_and_answers_stay(tmp_path: Path) -> None:
    blind = kept(tmp_path)
    assert image_of(blind.id, blind.screens[0].left)
    play(blind, spot=False)
    assert image_of(blind.id, blind.screens[0].left) is None
    assert read_set(blind.id) == blind
    assert len(answers_to(blind.id).picked) == len(blind.screens)


def test_what_people_saw_is_evidence_of_the_recipe(tmp_path: Path) -> None:
    assert evidence("scope", "quantization=bnb_nf4") is None
    play(kept(tmp_path), spot=True)
    play(kept(tmp_path), spot=False)
    kept(tmp_path)  # nobody has answered this one
    found = evidence("scope", "quantization=bnb_nf4")
    assert found is not None
    assert (found.sets, found.right, found.pairs) == (2, 6, 12)
    assert evidence("another", "quantization=bnb_nf4") is None


@pytest.mark.parametrize("name", ["", "..", "../../etc", "g" * 32, "f" * 31])
def test_what_is_no_name_is_no_file(name: str) -> None:
    assert read_set(name) is None
    assert image_of(name, "0" * 32) is None
    assert image_of("0" * 32, name) is None
