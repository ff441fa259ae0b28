"""Several start at once: one owns the machine, the others are told so at once, and a killed owner is followed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .settings import MORE

ROUNDS = 50 * MORE


def contests(what: str, contenders: int, rounds: int) -> list[list[list[str]]]:
    """Return what the contenders of each round said. The owner of each is killed, and its lock is left as it was."""
    command = [sys.executable, "-m", "autotune.tests.faults.owning", what, str(contenders)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = []
        for _ in range(rounds):
            print("go", file=process.stdin, flush=True)
            said.append([line.split() for line in iter(process.stdout.readline, "gone\n")])
        process.stdin.close()
    return said


@pytest.mark.parametrize(("what", "rounds", "code"), [("tuner", ROUNDS, "5"), ("daemon", 5 * MORE, "6")])
def test_there_is_one_owner(what: str, rounds: int, code: str) -> None:
    for said in contests(what, 3, rounds):
        assert said[-1] == ["owners", "1"]
        assert [words[0] for words in said[:-1]] == ["refused", "refused"]
        for _, its, waited_s in (words for words in said if words[0] == "refused"):
            assert its == code
            assert float(waited_s) < 2
