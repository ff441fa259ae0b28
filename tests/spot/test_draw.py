"""Drawing a set: nothing but the pixels tells the images apart, and chance decides where they stand."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from autotune.errors import UsageError
from autotune.planner.spot.draw import Shot, draw_set, plain

from .pictures import shots


def chunks(png: bytes) -> list[bytes]:
    names, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4])
        names.append(png[at + 4 : at + 8])
        at += 12 + length
    return names


def test_files_differ_in_their_pixels_alone(tmp_path: Path) -> None:
    taken = shots(tmp_path)
    told = [(shot.baseline.stat().st_size, shot.other.stat().st_size) for shot in taken if shot.other]
    assert all(ours > theirs for ours, theirs in told), "as they were made, their sizes tell"
    _, images = draw_set(taken[:6], taken[6:])
    assert len({len(content) for content in images.values()}) == 1
    assert {tuple(dict.fromkeys(chunks(content))) for content in images.values()} == {(b"IHDR", b"IDAT", b"IEND")}
    assert {content[:33] for content in images.values()} == {next(iter(images.values()))[:33]}
    assert not [content for content in images.values() if b"bnb" in content or b"recipe" in content]


def test_no_pixel_is_changed(tmp_path: Path) -> None:
    [first, *_] = shots(tmp_path)
    for file in (first.baseline, first.other):
        assert file is not None
        with Image.open(file) as before, Image.open(io.BytesIO(plain(file))) as after:
            assert before.tobytes() == after.tobytes()


def test_the_controls(tmp_path: Path) -> None:
    taken = shots(tmp_path)
    screens, images = draw_set(taken[:6], taken[6:])
    assert Counter(screen.kind for screen in screens) == {"pair": 6, "identical": 2, "damaged": 2}
    for screen in screens:
        left, right = images[screen.left], images[screen.right]
        assert (left == right) is (screen.kind == "identical")
        assert screen.other in ({""} if screen.kind == "identical" else {screen.left, screen.right})
    assert len({screen.prompt for screen in screens}) == 10, "nothing is shown twice"


def test_left_and_right_are_balanced_and_the_order_is_any() -> None:
    import autotune.planner.spot.draw as module

    chance, picked = Random(11), Counter[str]()
    firsts = Counter[str]()
    shot = [Shot(str(place), Path("ours"), Path("theirs")) for place in range(44)]
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(module, "plain", lambda file: str(file).encode().ljust(8))
        context.setattr(module, "damaged", lambda _: b"damaged ")
        for _ in range(250):  # 250 sets of 40 pairs: 10 000 draws
            screens, _ = draw_set(shot[:40], shot[40:], chance)
            picked.update("left" if each.other == each.left else "right" for each in screens if each.kind == "pair")
            firsts[screens[0].prompt] += 1
    assert picked.total() == 10_000
    assert picked["left"] / 10_000 == pytest.approx(0.5, abs=0.03)
    assert max(firsts.values()) < 25


def test_tokens_are_not_drawn_from_what_decides(tmp_path: Path) -> None:
    taken = shots(tmp_path)
    one, other = (draw_set(taken[:6], taken[6:], Random(1))[0] for _ in range(2))
    assert [each.prompt for each in one] == [each.prompt for each in other]
    assert not {each.left for each in one} & {each.left for each in other}


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    small, large = shots(tmp_path), shots(tmp_path / "large", size=32)
    mixed = [Shot("one", small[0].baseline, large[0].other)]
    with pytest.raises(UsageError, match="not of one size"):
        draw_set(mixed, small[6:])
