"""A token that lies around is in no log, no report, no plan, and in the environment of no trial."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from autotune.planner.cli.main import app
from autotune.planner.daemon.state import Listening, remove_state, write_state
from autotune.planner.daemon.token import make_token
from autotune.planner.lock import the_only_tuner
from autotune.probes import child
from autotune.search.trial.failure import TrialFailure
from autotune.search.trial.process import Template
from autotune.store.places import data_dir
from autotune.store.repair import repair
from autotune.store.store import FILE_NAME

from ..daemon.family import keep
from .corpus import CANARY

NAMES = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "OPENAI_API_KEY", "MY_PASSWORD"),
    *("HTTPS_PROXY", "https_proxy", "SSH_AUTH_SOCK", "KUBECONFIG", "NETRC", "PIP_INDEX_URL", "AUTOTUNE_TOKEN"),
)


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, CANARY)


def below(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def test_trials_and_their_logs_have_none(tmp_path: Path) -> None:
    token = make_token()
    modules = ("autotune.search.trial.worker", "autotune.tests.faults.broken")
    with Template(modules) as template, template.fork() as trial:
        for pid in (template.pid, trial.pid):
            variables = Path(f"/proc/{pid}/environ").read_text()
            assert CANARY not in variables
            assert token not in variables
            assert "HF_HUB_OFFLINE=1" in variables
            assert "DIFFUSERS_DISABLE_REMOTE_CODE=1" in variables
            assert CANARY not in " ".join(psutil.Process(pid).cmdline())
        with pytest.raises(TrialFailure) as failure:
            trial.ask({"do": "load", "order": {"recipe": {"turned": {"precision": "a sticky error"}}}}, 30)
        logs = below(Path(template._logs.name))
        assert logs
        assert not [file for file in logs if CANARY in file.read_text(errors="replace")]
        assert CANARY not in failure.value.detail
        assert stat.S_IMODE(Path(template._logs.name).stat().st_mode) == 0o700
    assert not [file for file in below(tmp_path) if CANARY in file.read_text(errors="replace")]


def test_probes_have_none() -> None:
    assert CANARY not in str(child.environment(()))


COMMANDS = [
    ["doctor", "--json"],
    ["plan", "shapes", "--json"],
    ["explain", "shapes", "--json"],
    ["show", "shapes", "--json"],
    ["probe", "--json"],
    ["status"],
    ["--model", "shapes", "--dry-run"],
    ["--model", "no-such-model"],
    ["plan", "export", "shapes"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_command_says_one(tmp_path: Path, arguments: list[str]) -> None:
    token = make_token()
    done = CliRunner().invoke(app, arguments)
    said = f"{done.output}{done.exception!r}"
    assert CANARY not in said
    assert token not in said
    kept = {file: file.read_bytes() for file in below(tmp_path)}
    assert not [file for file, content in kept.items() if CANARY.encode() in content]
    assert [file.name for file, content in kept.items() if token.encode() in content] == ["token"]


def test_a_bug_is_reported_without_one(tmp_path: Path) -> None:
    code = (
        "from autotune.planner.cli import main as door, main\n"
        "import autotune.planner.show as show\n"
        "def broken(model): raise RuntimeError('a bug')\n"
        "show.show = broken\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "show", "shapes"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    report = tmp_path / "state" / "last-error.txt"
    assert "a bug" in report.read_text()
    assert CANARY not in done.stdout + done.stderr + report.read_text()


def test_all_that_is_kept_is_private_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keep()
        make_token()
        write_state(Listening(url="http://127.0.0.1:1", pid=os.getpid(), started="2026-11-22T12:00:00+00:00"))
        with the_only_tuner():
            pass
        (data_dir() / FILE_NAME).write_bytes(b"\x5a" * 5000)
        assert repair(data_dir() / FILE_NAME)
        keep()
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    folders = {name: mode for name, mode in modes.items() if (tmp_path / name).is_dir()}
    assert {"data", "data/backups", "state"} <= set(folders)
    assert set(folders.values()) == {0o700}
    files = {name: mode for name, mode in modes.items() if name not in folders and not name.endswith(".lock")}
    assert len(files) >= 6
    assert set(files.values()) == {0o600}, files
    remove_state(os.getpid())
