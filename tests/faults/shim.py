"""The C library's writes, made to fail: `shim.c` is compiled, and put before them in processes of their own."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")


def built(folder: Path) -> Path:
    """Compile it; skips where there is no compiler, or the C library is another one."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler, to make the C library's writes fail")
    library = folder / "shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


@dataclass
class Life:
    """How a forked process ended: what it said, and its exit code (negative: by a signal)."""

    said: list[list[str]]
    code: int

    def numbers(self, word: str) -> list[int]:
        """Return what was said after `word`, as numbers."""
        return [int(words[1]) for words in self.said if words[0] == word]


class Stage:
    """A program that forks for each of its acts, so that the imports are paid once."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def play(self, act: str, path: Path, **faults: object) -> Life:
        """Play an act on a store in a fresh process; `faults` are the variables of the shim."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"act": act, "path": str(path), "faults": {name: str(value) for name, value in faults.items()}}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        lines: list[list[str]] = []
        for line in iter(self._process.stdout.readline, ""):
            lines.append(line.split())
            if lines[-1][0] == "gone":
                return Life(lines[:-1], int(lines[-1][1]))
        pytest.fail(f"the stage itself has ended: {self._process.wait()}")


@contextmanager
def staged(library: Path, folder: Path) -> Iterator[Stage]:
    """Start it; what it writes below `folder` can be made to fail."""
    environment = os.environ | {"LD_PRELOAD": str(library), "AUTOTUNE_FAULTS_BELOW": str(folder)}
    command = [sys.executable, "-m", "autotune.tests.faults.stage"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Stage(process)
        finally:
            process.kill()


FULL, BROKEN = errno.ENOSPC, errno.EIO
