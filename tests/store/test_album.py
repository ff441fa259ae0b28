"""Images that are kept of a run: few, found again, and forgotten with old runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autotune.store import album
from autotune.store.album import Picture, album_of, digest_of, keep_album, picture_file
from autotune.store.places import data_dir
from autotune.store.run import new_id

if TYPE_CHECKING:
    from pathlib import Path


def picture(content: bytes, recipe: str = "unmodified", index: int = 0) -> tuple[Picture, bytes]:
    digest = digest_of(content)
    return Picture(recipe=recipe, index=index, prompt="a circle", seed=1000 + index, digest=digest), content


def files() -> set[Path]:
    return set((data_dir() / "images").glob("*.png"))


def test_what_is_kept_is_found() -> None:
    run = new_id()
    keep_album(run, [picture(b"one"), picture(b"two", index=1), picture(b"three", "precision=bf16")])
    found = album_of(run)
    assert [each.seed for each in found.of("unmodified").values()] == [1000, 1001]
    file = picture_file(found.of("precision=bf16")[0].digest)
    assert file is not None
    assert file.read_bytes() == b"three"


def test_a_later_sitting_adds_and_replaces() -> None:
    run = new_id()
    keep_album(run, [picture(b"one"), picture(b"two", index=1)])
    keep_album(run, [picture(b"other"), picture(b"three", index=2)])
    assert [each.digest for each in album_of(run).of("unmodified").values()] == [
        digest_of(content) for content in (b"other", b"two", b"three")
    ]
    assert len(files()) == 3


def test_the_same_image_is_one_file() -> None:
    keep_album(new_id(), [picture(b"one"), picture(b"one", "precision=bf16")])
    keep_album(new_id(), [picture(b"one")])
    assert len(files()) == 1


def test_only_so_many_bytes_are_kept_and_what_is_there_already_takes_none_again() -> None:
    run = new_id()
    first, second, third = picture(b"12345"), picture(b"67890", index=1), picture(b"x", index=2)
    keep_album(run, [first, second, third], most_bytes=10)
    assert list(album_of(run).of("unmodified")) == [0, 1]
    keep_album(run, [first, second, third], most_bytes=11)
    assert list(album_of(run).of("unmodified")) == [0, 1, 2]


def test_an_image_whose_file_is_gone_is_kept_again() -> None:
    run, (kept, content) = new_id(), picture(b"one")
    keep_album(run, [(kept, content)])
    [file] = files()
    file.unlink()
    keep_album(run, [(kept, content)])
    assert files() == {file}


def test_old_runs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(album, "ALBUMS_KEPT", 2)
    runs = [f"0192{number:04d}-0000-7000-8000-000000000000" for number in range(4)]
    for number, run in enumerate(runs):
        keep_album(run, [picture(f"image {number}".encode()), picture(b"in all", index=1)])
    assert [len(album_of(run).pictures) for run in runs] == [0, 0, 2, 2]
    assert len(files()) == 3


@pytest.mark.parametrize("content", ["", "{", '{"run": "x"}'])
def test_what_cannot_be_read_is_no_album(content: str) -> None:
    run = new_id()
    keep_album(run, [picture(b"one")])
    (data_dir() / "images" / f"{run}.json").write_text(content)
    assert album_of(run).pictures == ()


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "0" * 64, "A" * 64])
def test_what_is_no_digest_is_no_file(digest: str) -> None:
    assert picture_file(digest) is None
