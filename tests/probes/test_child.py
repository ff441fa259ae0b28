from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autotune.probes.child import MOST_BYTES, Answer, ask_child

from .drivers import folder_with

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups are those of POSIX")


def ask(folder: Path, source: str, timeout_s: float = 5.0) -> Answer:
    return ask_child("asked", timeout_s, [folder_with(folder, "asked", source)])


def gone(pid: int) -> bool:
    """Return whether the process has ended; one that nobody has reaped yet has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 2
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return gone(pid)


def test_last_line_is_the_answer(tmp_path: Path) -> None:
    assert ask(tmp_path, "print('a greeting'); print('{}'); print()") == Answer("{}")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise SystemExit(3)", "failed (exit status 3)"),
        ("import os; print(1, flush=True); os.kill(os.getpid(), 11)", "crashed (SIGSEGV)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 1)", f"crashed (signal {signal.SIGRTMIN + 1})"),
        (f"print('x' * {2 * MOST_BYTES})", f"answered with more than {MOST_BYTES} bytes"),
    ],
)
def test_problem_is_named(tmp_path: Path, source: str, problem: str) -> None:
    assert ask(tmp_path, source) == Answer("", problem)


def test_endless_output_is_not_collected(tmp_path: Path) -> None:
    started = time.monotonic()
    answer = ask(tmp_path, "while True: print('x' * 100_000)", 20)
    assert answer == Answer("", f"answered with more than {MOST_BYTES} bytes")
    assert time.monotonic() - started < 10


def test_module_that_is_not_there_is_a_problem() -> None:
    assert ask_child("no_such_module_anywhere", 5.0).problem == "failed (exit status 1)"


def test_python_that_cannot_be_started_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "could not be asked in a process of its own" in ask_child("json", 5.0).problem


HANGS = [
    "time.sleep(60)",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
    "os.close(1); time.sleep(60)",  # looks as if all were said
    "os.kill(os.getpid(), signal.SIGSTOP)",
    "os._exit(0)",  # has ended, but what it started keeps the output open
]


def hang_and_tell(folder: Path, hang: str) -> tuple[Answer, float, list[int]]:
    """Return the answer of a child that starts another process and hangs, after how long, and the ids of the two."""
    folder.mkdir()
    source = f"""
import os, signal, subprocess, time
grandchild = subprocess.Popen(["sleep", "60"])
open({str(folder / "pids")!r}, "w").write(f"{{os.getpid()}} {{grandchild.pid}}")
{hang}
"""
    started = time.monotonic()
    answer = ask(folder, source, 1.5)  # long enough for a busy machine to have started both
    return answer, time.monotonic() - started, [int(pid) for pid in (folder / "pids").read_text().split()]


def test_hung_children_are_killed_with_their_children_and_reaped(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(len(HANGS))]
    with ThreadPoolExecutor(len(HANGS)) as pool:  # at once, as a daemon may ask
        ends = list(pool.map(hang_and_tell, folders, HANGS))
    for answer, seconds, (child, grandchild) in ends:
        assert answer == Answer("", "did not answer within 1.5 s")
        assert seconds < 4
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)  # reaped: no longer a child of ours
        assert wait_until_gone(grandchild)


def test_children_of_a_crashed_child_are_killed_too(tmp_path: Path) -> None:
    source = f"""
import os, subprocess
grandchild = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
open({str(tmp_path / "pid")!r}, "w").write(str(grandchild.pid))
os.abort()
"""
    assert ask(tmp_path, source).problem == "crashed (SIGABRT)"
    assert wait_until_gone(int((tmp_path / "pid").read_text()))


def test_child_gets_no_secrets_and_no_module_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    folder_with(tmp_path, "colorsys", "")
    monkeypatch.chdir(tmp_path)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    answer = ask(elsewhere, "import colorsys, os; print(colorsys.__file__, sorted(os.environ))")
    assert "PATH" in answer.text
    assert "HF_TOKEN" not in answer.text
    assert str(tmp_path / "colorsys.py") not in answer.text


def test_child_whose_parent_was_killed_ends_itself(tmp_path: Path) -> None:
    folder_with(tmp_path, "pynvml", "import time\ntime.sleep(60)")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    found = subprocess.run(
        [sys.executable, "-P", "-m", "autotune.probes.nvidia", "0.2"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        timeout=10,
        check=False,
    )
    assert found.returncode == -signal.SIGALRM
