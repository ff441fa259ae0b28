"""Trials as processes: whatever one does, it gets an outcome, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from autotune.search.recipe import UNMODIFIED
from autotune.search.trial.failure import TrialFailure
from autotune.search.trial.process import Template, TrialProcess, trial_environment
from autotune.search.trial.silence import Silence

if TYPE_CHECKING:
    from autotune.search.task import Task


def below(template: Template) -> list[psutil.Process]:
    """Return all that lives below the template."""
    assert template._process
    return psutil.Process(template._process.pid).children(recursive=True)


def misbehaving(template: Template, how: str, limit_s: float = 60) -> TrialFailure:
    with template.fork() as process, pytest.raises(TrialFailure) as failure:
        process.ask({"do": "misbehave", "how": how}, limit_s)
    return failure.value


def loaded(template: Template, task: Task) -> TrialProcess:
    process = template.fork()
    process.ask({"do": "load", "order": task.order(UNMODIFIED, task.artifacts).model_dump(mode="json")}, 120)
    return process


def test_a_trial_loads_and_runs(template: Template, task: Task, tmp_path: Path) -> None:
    with loaded(template, task) as process:
        command: dict[str, Any] = {
            "do": "run",
            "prompts": list(task.prompts[:2]),
            "seeds": [5, 6],
            "folder": str(tmp_path),
        }
        answer = process.ask(command, 60)
    assert len(answer["latency_ms"]) == 2
    assert all(latency > 0 for latency in answer["latency_ms"])
    assert answer["peak_memory_bytes"] > 0
    assert {file.name for file in tmp_path.glob("*.png")} == {"5.png", "6.png"}
    assert below(template) == []


def test_the_same_seed_gives_the_same_image(template: Template, task: Task, tmp_path: Path) -> None:
    for name in ("a", "b"):
        with loaded(template, task) as process:
            folder = str(tmp_path / name)
            process.ask({"do": "run", "prompts": [task.prompts[0]], "seeds": [7], "folder": folder}, 60)
    assert (tmp_path / "a" / "7.png").read_bytes() == (tmp_path / "b" / "7.png").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM, signal.SIGBUS])
def test_a_trial_that_is_killed_has_crashed(template: Template, number: signal.Signals) -> None:
    with template.fork() as process:
        threading.Timer(0.3, os.kill, (process.pid, number)).start()
        with pytest.raises(TrialFailure) as failure:
            process.ask({"do": "misbehave", "how": "sleep"}, 30)
    assert failure.value.outcome == "crashed"
    assert number.name in failure.value.detail
    assert below(template) == []


def test_a_trial_that_hangs_is_ended_in_time(template: Template) -> None:
    started = time.monotonic()
    failure = misbehaving(template, "hang", limit_s=1)
    assert failure.outcome == "timeout"
    assert "within 1 s" in failure.detail
    assert time.monotonic() - started < 10
    assert below(template) == []


def test_a_trial_that_waits_for_itself_is_ended_before_its_limit(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "silence_s", 1.0)
    failure = misbehaving(template, "deadlock", limit_s=600)
    assert (failure.outcome, failure.blameless) == ("timeout", True)
    assert "used no processor for 1 s" in failure.detail
    assert below(template) == []


def test_a_trial_whose_child_works_is_waited_for(template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "silence_s", 1.0)
    with template.fork() as process:
        assert process.ask({"do": "misbehave", "how": "let_a_child_work"}, 120) == {}


def test_a_pause_of_the_whole_machine_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.3, 3600.3, 3600.6, 3600.9])
    monkeypatch.setattr("autotune.search.trial.silence.time.monotonic", lambda: next(clock))
    silence = Silence(5.0)
    heard = [silence.listen(used_s) for used_s in (5.0, 5.01, 5.02, 6.0)]
    assert heard == pytest.approx([0.3, 1.3, 1.6, 0.0])


def test_a_stopped_trial_is_ended_in_time(template: Template) -> None:
    with template.fork() as process:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(TrialFailure) as failure:
            process.ask({"do": "misbehave", "how": "leave"}, 1)
    assert failure.value.outcome == "timeout"
    assert below(template) == []


def test_a_trial_that_takes_too_much_memory_is_ended(template: Template) -> None:
    failure = misbehaving(template, "fill_memory")
    assert failure.outcome == "out_of_memory"
    assert "0.29 GiB were free for it" in failure.detail
    assert below(template) == []


def test_a_trial_that_leaves_says_so(template: Template) -> None:
    failure = misbehaving(template, "leave")
    assert (failure.outcome, "exit code 7" in failure.detail) == ("crashed", True)


def test_a_bug_in_a_trial_is_a_crash_with_its_words(template: Template) -> None:
    failure = misbehaving(template, "unfit")
    assert failure.outcome == "crashed"
    assert "AttributeError" in failure.detail


def test_an_endless_answer_is_refused(template: Template) -> None:
    failure = misbehaving(template, "talk")
    assert failure.outcome == "crashed"
    assert "longer than" in failure.detail


def test_what_a_trial_prints_disturbs_nobody(template: Template) -> None:
    with template.fork() as process:
        assert process.ask({"do": "misbehave", "how": "flood"}, 30) == {}


def test_nothing_outlives_a_trial(template: Template) -> None:
    with template.fork() as process:
        process.ask({"do": "misbehave", "how": "leave_children"}, 30)
        assert len(below(template)) == 3
    assert below(template) == []


def test_an_unknown_command_is_a_crash(template: Template) -> None:
    with template.fork() as process, pytest.raises(TrialFailure, match="do_dance"):
        process.ask({"do": "dance"}, 30)


def test_a_dead_template_is_replaced() -> None:
    with Template(("json",)) as template:
        with template.fork():
            pass
        assert template._process
        template._process.kill()
        template._process.wait()
        with template.fork() as process:
            assert psutil.pid_exists(process.pid)


def test_an_interruption_at_any_moment_leaves_the_next_trial_whole() -> None:
    """Ctrl-C between a request and its answer: that answer must not be taken for the next request's."""
    program = [sys.executable, "-m", "autotune.tests.search.interrupting"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0, "all came too late to test anything"


def test_trials_die_with_their_parent() -> None:
    with Template(("json",)) as template, template.fork() as process:
        assert template._process
        template._process.kill()
        psutil.Process(process.pid).wait(5)


@pytest.mark.parametrize("said", [b"hello\n", b"[]\n", b"{}\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b'{"ok"'])
def test_an_answer_that_is_none_is_a_crash(said: bytes) -> None:
    import socket
    import subprocess
    import sys

    class EndsNothing:
        silence_s = 60.0

        def end(self, pid: int, grace_s: float) -> int:
            del pid, grace_s
            return 0

    ours, theirs = socket.socketpair()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as sleeper, theirs:
        trial = TrialProcess(EndsNothing(), sleeper.pid, ours, Path("no.log"), None)  # type: ignore[arg-type]  # a fake
        theirs.sendall(said)
        if not said.endswith(b"\n"):
            theirs.shutdown(socket.SHUT_WR)
        with trial, pytest.raises(TrialFailure) as failure:
            trial.ask({"do": "run"}, 5)
        sleeper.kill()
    assert failure.value.outcome == "crashed"


def test_the_environment_of_trials_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    environment = trial_environment()
    assert "canary" not in str(environment)
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["NNCF_CI"] == "true"
