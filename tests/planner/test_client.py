"""An app gets its plan whatever becomes of the daemon, and is not kept waiting for it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import pytest

import autotune
from autotune.errors import AutotuneError, DaemonError, NoPlanError, StoreError, UsageError
from autotune.planner import client as module
from autotune.planner.aclient import AsyncClient
from autotune.planner.choose import Answer, Wish
from autotune.planner.client import Client, plan, report
from autotune.planner.daemon.app import create_app
from autotune.planner.daemon.state import Listening, write_state
from autotune.planner.daemon.wire import ANSWER_LIMIT_BYTES, Prediction
from autotune.probes.machine import probe
from autotune.store.places import data_dir, state_dir
from autotune.store.store import FILE_NAME

from ..daemon.conftest import TOKEN, World, listening
from ..daemon.family import FAST, GIB, MACHINE, MIDDLE, SMALL, WORKLOAD, keep, plan_of

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def live(world: World) -> Iterator[str]:
    """The url of a daemon that listens; nobody is told of it."""
    with listening(world.app()) as url:
        yield url


@contextmanager
def speaking(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen on a free port, and let `speak` answer whoever connects, each in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one(connection: socket.socket) -> None:
            with connection, suppress(OSError):  # the client has hung up, as it should
                speak(connection)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def silent(connection: socket.socket) -> None:
    connection.recv(1)
    time.sleep(20)


def dribbling(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 200:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def saying(content: bytes) -> Callable[[socket.socket], None]:
    def speak(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(content)

    return speak


def endless(connection: socket.socket) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b" " * 65536)


def pretend(url: str, pid: int | None = None) -> None:
    """Say that a daemon lives at `url`."""
    write_state(Listening(url=url, pid=pid or os.getpid(), started="2026-11-22T12:00:00+00:00"))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


BAD_DAEMONS = {
    "hangs": silent,
    "dribbles": dribbling,
    "hangs up": saying(b""),
    "is no web server": saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "says html": saying(OK + b"\r\n<html>"),
    "says another thing": saying(OK + b'\r\n{"name": "ollama"}'),
    "says nothing": saying(OK + b"\r\n"),
    "stops half way": saying(OK + b'Content-Length: 100\r\n\r\n{"schema'),
    "never stops": endless,
    "sends elsewhere": saying(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
    "fails": saying(b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\nInternal Server Error"),
    "is crowded": saying(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nService Unavailable"),
    "talks nonsense": saying(b"\x00" * 100_000),
    "has too many headers": saying(OK + b"X: y\r\n" * 10_000 + b"\r\n{}"),
}


@pytest.mark.parametrize("speak", BAD_DAEMONS.values(), ids=BAD_DAEMONS)
def test_a_bad_daemon_is_an_error_in_time(speak: Callable[[socket.socket], None]) -> None:
    with speaking(speak) as url:
        began = time.monotonic()
        with pytest.raises(DaemonError, match=url):
            Client(url, timeout_s=0.2).plan("shapes")
        assert time.monotonic() - began < 0.2 + 1  # a busy machine is slow, not wrong


@pytest.mark.parametrize("kind", ["hangs", "hangs up", "says another thing"])
def test_where_the_daemon_is_bad_the_store_answers(kind: str) -> None:
    keep()
    with speaking(BAD_DAEMONS[kind]) as url:
        pretend(url)
        began = time.monotonic()
        assert plan("shapes").plan.recipe == FAST.recipe
        assert time.monotonic() - began < module.TIMEOUT_S + 1


@pytest.mark.slow
def test_a_daemon_that_was_named_is_the_only_one_asked() -> None:
    keep()
    with speaking(silent) as url:
        began = time.monotonic()
        with pytest.raises(DaemonError, match=rf"{url} within 1 s"):
            plan("shapes", url=url)
        assert 0.9 < time.monotonic() - began < 3


def test_the_daemon_that_lives_is_asked(live: str, world: World) -> None:
    keep()
    pretend(live)
    assert plan("shapes").plan.recipe == FAST.recipe
    world.free_bytes = {"cpu": 3 * GIB}  # which only the daemon sees
    assert plan("shapes").plan.recipe == MIDDLE.recipe
    assert Client().plan("shapes") == Client(live).plan("shapes") == plan("shapes")


def test_all_that_is_asked_arrives(live: str) -> None:
    keep()
    wish = Wish(width=256, guidance=0.1 + 0.2)
    answer = plan("shapes", max_memory_bytes=2 * GIB, workload=wish, revision="4567", url=live)
    assert answer.plan.recipe == SMALL.recipe
    assert answer.call["width"] == 256
    assert answer.call["guidance_scale"] == 0.1 + 0.2
    assert answer.stale_reasons == ("model revision 0123 -> 4567",)
    assert plan("shapes", workload=WORKLOAD, url=live).asked == ""
    assert Client(live).plan("shapes", max_memory="3GiB", steps=None).plan.recipe == MIDDLE.recipe


@pytest.mark.parametrize("daemon", ["none", "dead", "port closed"])
def test_without_a_daemon_the_store_answers(daemon: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    if daemon != "none":
        pretend(url, dead_pid() if daemon == "dead" else None)
    keep()
    answer = plan("shapes", max_memory_bytes=3 * GIB, workload=Wish(steps=4), revision="0123")
    assert answer.plan.recipe == MIDDLE.recipe
    assert answer.call["num_inference_steps"] == 4
    with pytest.raises(DaemonError, match=r"autotune serve"):
        Client().health()
    with pytest.raises(DaemonError, match=url):
        plan("shapes", url=url)


def test_the_daemon_and_the_store_give_the_same_answer() -> None:
    machine = probe()
    keep([plan_of("bf16", machine=machine.fingerprint, software=machine.software.key, peak_bytes=0)], machine)
    with listening(create_app()) as url:
        by_daemon, by_store = plan("shapes", url=url), plan("shapes")
    unmoving = {"free_bytes", "reason"}
    assert by_daemon.model_dump(exclude=unmoving) == by_store.model_dump(exclude=unmoving)
    assert (by_store.known, by_store.stale) == ("measured", False)


def test_errors_come_back_as_they_were_raised(live: str) -> None:
    for ask in (Client(live).plan, lambda model: plan(model, url=live)):
        for model in ("shapes", "mine"):  # the one is predicted, and not measured either
            with pytest.raises(NoPlanError, match=rf"run `autotune --model {model}`"):
                ask(model)
        with pytest.raises(UsageError, match=r"model cannot be"):
            ask("../../etc/passwd")
    with pytest.raises(UsageError, match="There is no parameter colour"):
        Client(live).plan("shapes", colour="red")
    (data_dir() / FILE_NAME).write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        Client(live).plan("shapes")
    with pytest.raises(StoreError, match="damaged"):
        plan("shapes")


def test_more_than_an_answer_is_not_read(live: str) -> None:
    health = Client(live).health().model_dump_json().encode()
    with speaking(saying(OK + b"\r\n" + health + b" " * 1000)) as url:
        assert Client(url).health().name == "autotune"
    with (
        speaking(saying(OK + b"\r\n" + health + b" " * ANSWER_LIMIT_BYTES)) as url,
        pytest.raises(DaemonError, match=rf"{url} says more than {ANSWER_LIMIT_BYTES} bytes"),
    ):
        Client(url).health()


def test_an_error_of_a_newer_daemon_is_still_one_of_ours() -> None:
    with speaking(saying(OK.replace(b"200 OK", b"418 New") + b'\r\n{"error": "TeapotError", "message": "No."}')) as url:
        with pytest.raises(DaemonError, match=r"^No\.$"):
            Client(url).health()
        pretend(url)
        with pytest.raises(NoPlanError):
            plan("shapes")


def test_no_plan_of_the_daemon_is_no_plan(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(live)
    monkeypatch.setattr(module, "_from_store", lambda _: pytest.fail("the store need not be asked again"))
    with pytest.raises(NoPlanError):
        plan("shapes")


def test_a_name_that_cannot_go_over_http_is_looked_up_in_the_store(live: str) -> None:
    keep([plan_of("bf16", model="mein Modell")])
    pretend(live)
    assert plan("mein Modell").model == "mein Modell"


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.1.7:8377",
        "http://evil.example:8377",
        "http://127.0.0.1.evil.example:8377",
        "http://127.0.0.1:8377@evil.example",
        "https://127.0.0.1:8377",
        "file:///etc/passwd",
        "127.0.0.1:8377",
        "",
    ],
)
def test_nothing_leaves_this_machine(url: str) -> None:
    with pytest.raises(UsageError, match="on this machine"):
        Client(url)
    with pytest.raises(UsageError, match="on this machine"):
        plan("shapes", url=url)


def test_no_proxy_is_asked(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert Client(live).health().name == "autotune"
    assert Client(f"{live}/").machine().machine == MACHINE
    assert Client(live).plans().plans == ()


def test_answers_stay_far_below_the_limit(live: str) -> None:
    keep()
    assert len(Client(live).plan("shapes").model_dump_json()) < ANSWER_LIMIT_BYTES / 100


def test_what_became_of_a_plan_arrives(live: str) -> None:
    keep()
    pretend(live)
    token = state_dir() / "token"
    token.touch(0o600)
    first = plan("shapes")
    with pytest.raises(DaemonError, match="token is needed"):
        Client().report(first.plan.id, "ok")
    token.write_text(TOKEN)
    assert Client(live).report(first.plan.id, "ok", latency_ms=51.5, peak_bytes=5 * GIB).needs_bytes > 5 * GIB
    for _ in range(2):
        said = report(first.plan.id, "out_of_memory", detail="x " * 1000)
    assert said.demoted.startswith("ran out of memory 2 times in apps, at last with: x x x")
    assert plan("shapes").plan.recipe == MIDDLE.recipe
    with pytest.raises(NoPlanError, match="There is no plan 0000000000000000 here"):
        Client().report("0" * 16, "ok")
    with pytest.raises(UsageError, match="plan_id cannot be"):
        Client().report("x", "ok")


@pytest.mark.parametrize("daemon", ["none", "hangs", "does not know us"])
def test_without_a_daemon_a_report_is_kept_by_the_app(daemon: str, live: str) -> None:
    keep()
    plan_id = plan("shapes").plan.id
    with speaking(silent) as silence:
        if daemon != "none":
            pretend(silence if daemon == "hangs" else live)
        for _ in range(2):
            report(plan_id, "out_of_memory")
    assert Client(live).plan("shapes").plan.recipe == MIDDLE.recipe


@pytest.mark.parametrize("wrong", [{"latency_ms": -1}, {"latency_ms": "fast"}, {"colour": "red"}, {"detail": 7}])
def test_a_report_that_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"A report cannot say {next(iter(wrong))}="):
        report("0" * 16, "ok", **wrong)


def test_what_is_predicted_is_there_for_those_who_ask(live: str) -> None:
    assert isinstance(Client(live).ask("shapes"), Prediction)
    keep()
    assert isinstance(Client(live).ask("shapes"), Answer)


def test_all_of_it_can_be_awaited(live: str) -> None:
    keep()
    (state_dir() / "token").write_text(TOKEN)

    async def talk() -> None:
        client, waited = AsyncClient(live), Client(live)
        answer, health = await asyncio.gather(client.plan("shapes"), client.health())
        assert answer == waited.plan("shapes") == await client.ask("shapes")
        assert health.name == "autotune"
        assert (await client.report(answer.plan.id, "ok")).demoted == ""
        assert await client.plans() == waited.plans()
        assert (await client.machine()).machine == MACHINE
        with pytest.raises(NoPlanError):
            await client.plan("mine")

    asyncio.run(talk())
    with pytest.raises(UsageError, match="on this machine"):
        AsyncClient("http://evil.example:80")
    assert {name for name in vars(Client) if not name.startswith("_")} == {
        name for name in vars(AsyncClient) if not name.startswith("_")
    }


def test_the_client_is_light() -> None:
    code = (
        "import sys; from autotune.planner.client import plan\n"
        "try: plan('shapes')\n"
        "except Exception as error: sys.stdout.write(type(error).__name__)\n"
        "sys.stdout.write(' ' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    error, *modules = done.stdout.split()
    assert error == "UnknownModelError"
    heavy = {
        "torch",
        "diffusers",
        "numpy",
        "optuna",
        "fastapi",
        "starlette",
        "uvicorn",
        "sqlite_utils",
        "rich",
        "typer",
    }
    assert heavy.isdisjoint(modules)


def test_the_door_leads_here() -> None:
    assert autotune.plan is plan
    assert autotune.Client is Client
    assert autotune.AsyncClient is AsyncClient
    assert autotune.report is report
    assert issubclass(import_module("autotune.errors").DaemonError, AutotuneError)
