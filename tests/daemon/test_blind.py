"""The blind page gives nothing away: not in its text, its headers, its images or its time."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import pytest

from autotune.planner.spot.play import shown
from autotune.tests.spot import pictures

from .conftest import KNOWS

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient

    from autotune.store.blind import BlindSet

BROWSER = {"accept": "text/html"}
LABELS = ("bnb", "nf4", "quantization=", "unmodified", "baseline", "damaged", "identical", "shapes", "other", '"pair"')


@pytest.fixture
def blind(tmp_path: Path) -> BlindSet:
    return pictures.kept(tmp_path, pairs=12)


def answered(ask: TestClient, blind: BlindSet, *, rightly: bool) -> None:
    for place, screen in enumerate(blind.screens):
        wrong = screen.right if screen.other == screen.left else screen.left
        picked = (screen.other or screen.left) if rightly or screen.kind == "damaged" else wrong
        said = ask.post(f"/v1/blind/{blind.id}/answers", json={"screen": place, "picked": picked}, headers=KNOWS)
        assert said.status_code == 200


def test_neither_page_nor_twin_nor_headers_say_which_is_which(ask: TestClient, blind: BlindSet) -> None:
    for place, screen in enumerate(blind.screens[:6]):
        page, twin = ask.get(f"/blind/{blind.id}", headers=BROWSER), ask.get(f"/v1/blind/{blind.id}")
        for text in (page.text, str(page.headers), str(twin.headers), str(list(twin.json().values()))):
            assert not [label for label in LABELS if label in text.lower()]
        assert twin.json()["left"] == screen.left
        ask.post(f"/v1/blind/{blind.id}/answers", json={"screen": place, "picked": screen.left}, headers=KNOWS)


def test_images_come_alike_but_for_their_pixels(ask: TestClient, blind: BlindSet) -> None:
    tokens = [token for screen in blind.screens for token in (screen.left, screen.right)]
    answers = [ask.get(f"/blind/{blind.id}/{token}.png") for token in tokens]
    assert {answer.status_code for answer in answers} == {200}
    assert len({str(sorted(answer.headers.items())) for answer in answers}) == 1
    assert len({len(answer.content) for answer in answers}) == 1
    assert len({answer.content[:41] for answer in answers}) == 1, "signature, header, begin of the data"
    assert not [answer for answer in answers if b"tEXt" in answer.content or b"bnb" in answer.content]


def test_all_answers_are_told_alike(ask: TestClient, tmp_path: Path) -> None:
    said = []
    for rightly in (True, False):
        folder = tmp_path / str(rightly)
        folder.mkdir()
        blind = pictures.kept(folder)
        screen = next(each for each in blind.screens if each.kind == "pair")
        place = blind.screens.index(screen)
        for before, each in enumerate(blind.screens[:place]):
            ask.post(f"/v1/blind/{blind.id}/answers", json={"screen": before, "picked": each.left}, headers=KNOWS)
        wrong = screen.right if screen.other == screen.left else screen.left
        picked = screen.other if rightly else wrong
        answer = ask.post(f"/v1/blind/{blind.id}/answers", json={"screen": place, "picked": picked}, headers=KNOWS)
        said.append({name: type(value) for name, value in answer.json().items()})
    assert said[0] == said[1]


@pytest.mark.slow
def test_time_says_nothing(ask: TestClient, blind: BlindSet) -> None:
    """Medians of the two kinds of image, asked in turn, differ by less than they scatter."""
    kinds: dict[bool, list[float]] = {True: [], False: []}
    pairs = [screen for screen in blind.screens if screen.kind == "pair"]
    for _ in range(12):
        for screen in pairs:
            for token in (screen.left, screen.right):
                started = time.perf_counter()
                ask.get(f"/blind/{blind.id}/{token}.png")
                kinds[token == screen.other].append(time.perf_counter() - started)
    ours, theirs = (statistics.median(kinds[kind]) for kind in (False, True))
    spread = statistics.quantiles(kinds[False] + kinds[True], n=4)
    assert abs(ours - theirs) < max(spread[2] - spread[0], 0.0005)


def test_a_set_is_played_to_its_verdict(ask: TestClient, blind: BlindSet) -> None:
    answered(ask, blind, rightly=True)
    page = ask.get(f"/blind/{blind.id}", headers=BROWSER).text
    assert "Shown to be distinguishable: 12 of 12 spotted" in page
    assert "quantization=bnb_nf4" in page
    assert shown(blind.id).state == "finished"


def test_a_set_that_is_missed_is_not_called_the_same(ask: TestClient, blind: BlindSet) -> None:
    answered(ask, blind, rightly=False)
    page = ask.get(f"/blind/{blind.id}", headers=BROWSER).text
    assert "Not shown to be distinguishable" in page
    assert "That is no proof that there is no difference" in page


def test_who_does_not_know_the_token_answers_nothing(ask: TestClient, blind: BlindSet) -> None:
    answer = {"screen": 0, "picked": blind.screens[0].left}
    assert ask.post(f"/v1/blind/{blind.id}/answers", json=answer).status_code == 401
    assert shown(blind.id).screen == 0


@pytest.mark.parametrize(
    "answer", [{"screen": 1}, {"screen": -1, "picked": "0" * 32}, {"screen": 0, "picked": "left"}, {"picked": "0" * 32}]
)
def test_answers_that_cannot_be_meant_are_refused(ask: TestClient, blind: BlindSet, answer: dict[str, object]) -> None:
    assert ask.post(f"/v1/blind/{blind.id}/answers", json=answer, headers=KNOWS).status_code == 422
