"""The socket in a folder, beside the port: for one user, guarded as the port is, and taken from nobody who lives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.errors import DaemonError, UsageError
from autotune.planner.client import Client
from autotune.planner.daemon.address import MOST_PATH_BYTES
from autotune.planner.daemon.state import read_state
from autotune.planner.daemon.stop import stop
from autotune.planner.daemon.unix_socket import unix_listener

from .family import keep
from .test_serve import Served, served


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s") / "d.sock"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, path: Path) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_HOME", str(tmp_path_factory.mktemp("home")))
        keep()
        with served(path=path) as one:
            yield one


@pytest.fixture(autouse=True)
def _at_home(daemon: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", daemon.home)


def curl(path: Path, *arguments: str) -> tuple[int, str]:
    """Return the status and the content that curl has seen."""
    command = ["curl", "-sS", "--unix-socket", str(path), "-w", "\n%{http_code}", *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    content, _, status = said.rpartition("\n")
    return int(status), content


def test_the_client_finds_it_and_prefers_it(daemon: Served, path: Path) -> None:
    state = read_state()
    assert state
    assert (state.url, state.socket, state.address) == (daemon.url, str(path), f"unix:{path}")
    for client in (Client(timeout_s=30), Client(f"unix:{path}", timeout_s=30), Client(daemon.url, timeout_s=30)):
        assert client.health().pid == daemon.process.pid
        assert client.plan("shapes").model == "shapes"
        assert client.jobs.list() == ()
        assert client.door("/compare").startswith(f"{daemon.url}/compare#code=")  # a browser opens no sockets


def test_it_belongs_to_its_user_alone(daemon: Served, path: Path) -> None:
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"and {path} (for this user only)" in daemon.line


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl, and there is none here")
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["http://localhost/v1/plan?model=shapes"], 200),
        (["http://127.0.0.1/v1/health"], 200),
        (["http://evil.example/v1/health"], 400),
        (["-H", "Origin: http://evil.example", "http://localhost/v1/health"], 403),
        (["-H", "Sec-Fetch-Site: cross-site", "http://localhost/v1/health"], 403),
        (["-X", "POST", "http://localhost/v1/doors"], 401),
    ],
    ids=["plan", "health", "host", "origin", "site", "token"],
)
def test_curl_is_answered_and_guarded_as_at_the_port(path: Path, arguments: list[str], status: int) -> None:
    found, content = curl(path, *arguments)
    assert found == status
    assert json.loads(content)["schema_version"] == 1


def test_nobody_who_listens_is_pushed_aside(daemon: Served, path: Path) -> None:
    with pytest.raises(DaemonError, match=f"Another program listens at {path}"), unix_listener(path):
        pass
    assert Client(f"unix:{path}").health().pid == daemon.process.pid


def test_another_file_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(file)
    for taken in (file, tmp_path, link):
        with pytest.raises(DaemonError, match="is no socket"), unix_listener(taken):
            pass
    assert file.read_text() == "mine"
    assert link.is_symlink()


def test_what_no_socket_can_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"at most {MOST_PATH_BYTES} bytes"), unix_listener(tmp_path / ("a" * 200)):
        pass
    with pytest.raises(DaemonError, match=r"No such file or directory.*--socket"), unix_listener(tmp_path / "no" / "s"):
        pass


def test_the_umask_opens_it_to_nobody_and_only_our_own_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = os.umask(0)
    try:
        with unix_listener(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert os.umask(0) == 0
            path.unlink()
            with socket.socket(socket.AF_UNIX) as another:
                another.bind(str(path))
    finally:
        os.umask(before)
    assert path.exists()  # it is the other's
    with unix_listener(path):  # who does not listen, and so has left it over
        pass
    assert not path.exists()


@pytest.mark.parametrize("url", ["unix:relative", "unix:", "unix:/" + "a" * 200, "unix://host/path\0", "unix"])
def test_an_address_is_one(url: str) -> None:
    with pytest.raises(UsageError, match="unix:/path/of/socket"):
        Client(url)


def test_a_socket_without_a_daemon_is_said(tmp_path: Path) -> None:
    with pytest.raises(DaemonError, match=f"No daemon answers at unix:{tmp_path}/none"):
        Client(f"unix:{tmp_path}/none").health()


@pytest.mark.slow
def test_what_a_killed_daemon_left_is_replaced_and_a_stopped_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path / "home"))
    path = tmp_path / "s"
    with served(path=path) as daemon:
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        assert path.exists()
    with served(path=path) as daemon:
        assert Client(timeout_s=30).health().pid == daemon.process.pid
        assert stop().socket == str(path)
        assert daemon.process.wait(10) == 143
        assert not path.exists()
