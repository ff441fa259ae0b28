"""The daemon as it runs: a process of its own that listens here alone, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from autotune.errors import DaemonError, UsageError
from autotune.planner.client import Client
from autotune.planner.daemon.serve import PORT, _listener, serve
from autotune.planner.daemon.state import FILE_NAME, Listening, read_state, write_state
from autotune.store.places import state_dir

from ..conftest import LINK
from .family import keep

CODE = "from autotune.planner.daemon.serve import serve; import pathlib; serve(host={host!r}, port={port}, path={path})"


@dataclass
class Served:
    """A daemon in a process of its own, and what it said when it began to listen."""

    process: subprocess.Popen[str]
    line: str
    home: str

    @property
    def url(self) -> str:
        return self.line.split()[3]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def served(host: str = "127.0.0.1", port: int = 0, path: Path | None = None) -> Iterator[Served]:
    command = [sys.executable, "-c", CODE.format(host=host, port=port, path=path and f"pathlib.Path({str(path)!r})")]
    environment = os.environ | {"PYTHONPATH": str(LINK)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield Served(process, line, os.environ["AUTOTUNE_HOME"])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One daemon for all tests that only ask it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_HOME", str(tmp_path_factory.mktemp("home")))
        with served() as one:
            yield one


def say(daemon: Served, text: bytes) -> bytes:
    """Return what the daemon says to these bytes until it hangs up."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as connection:
        connection.sendall(text)
        parts = iter(lambda: connection.recv(65536), b"")
        return b"".join(parts)


def test_it_says_where_it_listens_in_one_line(daemon: Served) -> None:
    pattern = r"autotune listens on http://127\.0\.0\.1:\d+ \(for this machine only\); try: curl '(\S+)'\n"
    told = re.fullmatch(pattern, daemon.line)
    assert told
    assert told[1] == f"{daemon.url}/v1/plan?model=shapes"
    assert Client(daemon.url).health().pid == daemon.process.pid


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import os, sys, json, threading, urllib.request\n"
        "from autotune.planner.daemon.serve import serve\n"
        "def ask(line):\n"
        "    def later():\n"
        "        urllib.request.urlopen(line.split()[3] + '/v1/health').read()\n"
        "        modules = {name.partition('.')[0] for name in sys.modules}\n"
        "        sys.stdout.write(json.dumps([*modules]))\n"
        "        sys.stdout.flush()\n"
        "        os._exit(0)\n"
        "    threading.Thread(target=later).start()\n"
        "serve(port=0, say=ask)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)
    assert {"fastapi", "uvicorn", "autotune"} <= set(modules)
    heavy = {"torch", "diffusers", "transformers", "optuna", "numpy", "PIL", "sqlite_utils", "rich", "typer", "pynvml"}
    assert heavy.isdisjoint(modules)


def test_answers_are_not_held_back_for_an_acknowledgement() -> None:
    with _listener("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # by which asyncio tells whether there is a delay to switch off


def test_it_listens_on_loopback_alone(daemon: Served) -> None:
    sockets = psutil.Process(daemon.process.pid).net_connections(kind="inet")
    assert [(each.laddr.ip, each.laddr.port) for each in sockets if each.status == psutil.CONN_LISTEN] == [
        ("127.0.0.1", daemon.port)
    ]


def test_the_wire_is_guarded_too(daemon: Served) -> None:
    host = f"Host: 127.0.0.1:{daemon.port}\r\n".encode()
    close = b"Connection: close\r\n\r\n"
    good = say(daemon, b"GET /v1/health HTTP/1.1\r\n" + host + close)
    assert good.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nserver:" not in good.lower()
    assert b"uvicorn" not in good.lower()
    for bad in (
        b"GET /v1/health HTTP/1.1\r\n" + close,
        b"GET /v1/health HTTP/1.0\r\n" + close,
        b"GET /v1/health HTTP/1.1\r\nHost: evil.example\r\n" + close,
        b"GET /v1/health HTTP/1.1\r\n" + host + b"Host: evil.example\r\n" + close,
        b"GET http://127.0.0.1/v1/health HTTP/1.1\r\nHost: evil.example\r\n" + close,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n" * 3,
    ):
        assert say(daemon, bad).startswith(b"HTTP/1.1 400 "), bad[:80]
    # a proxy may not speak for another machine
    forwarded = b"X-Forwarded-Host: evil.example\r\nX-Forwarded-For: 10.0.0.1\r\nForwarded: host=evil.example\r\n"
    assert say(daemon, b"GET /v1/health HTTP/1.1\r\n" + host + forwarded + close).startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_ends_it_and_nothing_is_left(number: signal.Signals, status: int) -> None:
    with served() as daemon:
        file = state_dir() / FILE_NAME
        listening = Listening.model_validate_json(file.read_bytes())
        assert (listening.url, listening.pid) == (daemon.url, daemon.process.pid)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        Client().health()
        daemon.process.send_signal(number)
        assert daemon.process.wait(10) == status
        assert not file.exists()


@pytest.mark.slow
def test_killed_it_leaves_a_file_that_nobody_believes() -> None:
    keep()
    with served() as daemon:
        daemon.process.kill()
        daemon.process.wait()
        assert (state_dir() / FILE_NAME).exists()
        assert read_state() is None
    with served() as daemon:
        assert read_state() == Listening.model_validate_json((state_dir() / FILE_NAME).read_bytes())
        assert Client(timeout_s=30).plan("shapes").model == "shapes"


def test_a_second_daemon_is_refused(daemon: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_HOME", daemon.home)
    with pytest.raises(DaemonError, match=rf"listens on {daemon.url} already \(process {daemon.process.pid}\)"):
        serve(port=0)
    assert read_state() is not None


def test_a_port_in_use_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sentence = (
            f"Port {port} of 127.0.0.1 cannot be had \\(another program listens there\\): choose another with .*--port"
        )
        with pytest.raises(DaemonError, match=sentence):
            serve(port=port)
    assert read_state() is None


def test_a_file_that_names_another_process_stops_nobody() -> None:
    # its process lives, but is no daemon: the number was given to somebody else after a restart
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    write_state(Listening(url=url, pid=os.getppid(), started="2026-11-22T12:00:00+00:00"))
    with served() as daemon:
        assert read_state() is not None
        assert Client().health().pid == daemon.process.pid


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "", "127.0.0.2", "*"])  # noqa: S104
def test_other_machines_are_never_listened_to(host: str) -> None:
    with pytest.raises(UsageError, match=r"listens on 127\.0\.0\.1, localhost, ::1 only.*ssh -L"):
        serve(host=host)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_a_port(port: int) -> None:
    with pytest.raises(UsageError, match="from 0 to 65535"):
        serve(port=port)


def test_the_usual_port_is_the_one_in_the_docs() -> None:
    assert PORT == 8377


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not _has_ipv6(), reason="needs IPv6 on the loopback interface, and there is none here")
def test_it_listens_on_ipv6_where_that_is_asked() -> None:
    with served(host="::1") as daemon:
        assert daemon.url.startswith("http://[::1]:")
        assert Client().health().pid == daemon.process.pid
