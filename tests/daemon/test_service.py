"""The daemon as a service: systemd hears of it, Prometheus reads it, and it can be stopped."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from autotune.errors import DaemonError
from autotune.planner.client import Client
from autotune.planner.daemon.metrics import exposition, metric
from autotune.planner.daemon.notify import notify, watchdog_s
from autotune.planner.daemon.state import Listening, read_state, write_state
from autotune.planner.daemon.stop import stop

from .conftest import BASE_URL, World, listening
from .family import GIB, keep
from .test_serve import served

SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="([^"\\\n]|\\.)*"\})? -?[0-9.e+-]+')


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """What systemd listens on."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.bind(str(tmp_path / "notify"))
    channel.settimeout(10)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return channel


def test_the_service_manager_hears_that_it_is_ready_lives_and_stops(
    manager: socket.socket, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    with manager:
        with TestClient(world.app(), base_url=BASE_URL):
            assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        heard = manager.recv(100)
        while heard == b"WATCHDOG=1":
            heard = manager.recv(100)
        assert heard == b"STOPPING=1"


def test_without_a_service_manager_nobody_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    for nowhere in ("relative", str(tmp_path / "nobody"), "@autotune-nobody"):
        monkeypatch.setenv("NOTIFY_SOCKET", nowhere)
        assert not notify("READY=1")


@pytest.mark.parametrize(
    ("wanted", "pid", "pause_s"),
    [("30000000", "", 15.0), ("30000000", "self", 15.0), ("30000000", "1", None), ("0", "", None), ("x", "", None)],
)
def test_how_often_it_says_so_is_asked(
    monkeypatch: pytest.MonkeyPatch, wanted: str, pid: str, pause_s: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", wanted)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "self" else pid)
    assert watchdog_s() == pause_s


def test_prometheus_can_read_it(ask: TestClient) -> None:
    keep()
    assert ask.get("/v1/plan?model=mine").status_code == 404
    assert ask.get("/v1/machine").status_code == 200
    response = ask.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = response.text.splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples), samples
    assert 'autotune_responses_total{status="404"} 1' in samples
    assert f'autotune_free_bytes{{device="cpu"}} {100 * GIB}' in samples
    assert "autotune_plans 3" in samples
    names = {line.partition("{")[0].partition(" ")[0] for line in samples}
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == names
    assert len(samples) < 50


def test_a_label_may_say_anything() -> None:
    text = exposition([metric("m", "gauge", "What it is.", {'a"b\\c\nd': 1.5}, "name")])
    assert text == '# HELP m What it is.\n# TYPE m gauge\nm{name="a\\"b\\\\c\\nd"} 1.5\n'


def test_it_can_be_stopped() -> None:
    with pytest.raises(DaemonError, match="none to stop"):
        stop()
    with served() as daemon:
        assert Client().health().pid == daemon.process.pid
        assert stop().url == daemon.url
        assert daemon.process.wait(10) == 143
        assert read_state() is None


def test_only_the_daemon_itself_is_stopped(world: World) -> None:
    with listening(world.app()) as url:
        write_state(Listening(url=url, pid=os.getppid(), started="2026-11-22T12:00:00+00:00"))
        with pytest.raises(DaemonError, match="nothing was stopped"):
            stop()
