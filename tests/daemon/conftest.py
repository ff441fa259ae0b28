"""A daemon whose machine, free memory and store are handed to it; in this process, or listening for real."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import uvicorn
from starlette.testclient import TestClient

from autotune.planner.daemon.app import create_app
from autotune.planner.daemon.connection import Connection
from autotune.probes.machine import Machine

from .family import GIB, MACHINE

if TYPE_CHECKING:
    from fastapi import FastAPI

BASE_URL = "http://127.0.0.1:8377"
TOKEN = "a-token-that-only-this-user-can-read"
KNOWS = {"authorization": f"Bearer {TOKEN}"}


@dataclass
class World:
    """What a daemon sees; a test may change it while the daemon runs."""

    free_bytes: dict[str, int] = field(default_factory=lambda: {"cpu": 100 * GIB})
    machine: Machine = MACHINE

    def app(self) -> FastAPI:
        """Return the daemon's app in this world."""
        return create_app(
            probe=lambda: self.machine,
            free_memory=lambda _: self.free_bytes,
            token=TOKEN,
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ask(world: World) -> TestClient:
    """A daemon without a network."""
    return TestClient(world.app(), base_url=BASE_URL, raise_server_exceptions=False)


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """Let an app listen on a free port, and yield its url."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, http=Connection, log_level="error", lifespan="on", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def live(world: World) -> Iterator[str]:
    """The url of a daemon that listens."""
    with listening(world.app()) as url:
        yield url
