"""Prompts that ship, and those of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune import planner
from autotune.errors import UsageError
from autotune.planner.catalogue import find_model
from autotune.planner.prompts import prompts_in, shipped_prompts
from autotune.planner.request import Request, task_of
from autotune.probes.machine import probe

from ..folders import write_model


@pytest.mark.parametrize(
    "kind", ["woman", "children", "three red apples", "five paper boats", "says OPEN", "moss", "linen", "watercolour"]
)
def test_what_is_asked_by_default_has_people_text_counts_textures_and_styles(kind: str) -> None:
    prompts = shipped_prompts(planner)
    assert len({*prompts}) == len(prompts) == 32
    assert any(kind in prompt for prompt in prompts)


def test_a_file_has_one_a_line_without_comments(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeff# mine\r\n  a café at night  \r\n\r\ntwo # signs\n#\na cat\na dog".encode())
    assert prompts_in(file) == ("a café at night", "two # signs", "a cat", "a dog")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a cat\n# a dog\n", "has 1 prompts, one a line, and at least 4 are needed"),
        (b"", "has 0 prompts"),
        (b"caf\xe9\n" * 4, "no text in UTF-8"),
    ],
)
def test_what_is_no_set_of_prompts_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        prompts_in(tmp_path / "prompts.txt")


def test_a_folder_holds_no_prompts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        prompts_in(tmp_path)


def test_a_task_is_judged_by_the_users_prompts_and_is_another(tmp_path: Path) -> None:
    folder, file = write_model(tmp_path / "model"), tmp_path / "mine.txt"
    file.write_text("one\ntwo\nthree\nfour\n")
    own, _ = task_of(Request(model=str(folder), prompts=file), probe())
    usual, _ = task_of(Request(model=str(folder)), probe())
    assert own.prompts == ("one", "two", "three", "four")
    assert usual.prompts == find_model(str(folder)).prompts
    assert own.scope.key != usual.scope.key
    assert own.calibration_prompts == usual.calibration_prompts, "what is built for trials serves the app"
