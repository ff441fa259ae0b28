"""No web page gets anything out of the daemon: each route there is, or will be, is asked by hostile ones."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from autotune.planner.daemon.app import BODY_LIMIT_BYTES, OPENAPI_PATH, create_app
from autotune.planner.daemon.guard import HEADERS, Guard, refusal

from .conftest import BASE_URL, KNOWS, TOKEN, World

HOSTILE: list[tuple[dict[str, Any], int]] = [
    ({"host": "evil.example"}, 400),
    ({"host": "evil.example:8377"}, 400),
    ({"host": "127.0.0.1.evil.example"}, 400),
    ({"host": "localhost.evil.example"}, 400),
    ({"host": "evil-localhost"}, 400),
    ({"host": "127.0.0.1@evil.example"}, 400),
    ({"host": "127.0.0.1:8377:80"}, 400),
    ({"host": "127.0.0.1:"}, 400),
    ({"host": "127.0.0.1:évil".encode()}, 400),
    ({"host": "127.0.0.2"}, 400),
    ({"host": "0.0.0.0"}, 400),  # noqa: S104 - as what somebody calls us, not as what we listen on
    ({"host": "192.168.1.7:8377"}, 400),
    ({"host": "my-machine.local"}, 400),
    ({"host": "2130706433"}, 400),
    ({"host": "localhost."}, 400),
    ({"host": "[::1].evil.example"}, 400),
    ({"host": ""}, 400),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "https://127.0.0.1:8377"}, 403),
    ({"origin": "http://127.0.0.1:3000"}, 403),
    ({"origin": "http://127.0.0.1"}, 403),
    ({"origin": "http://localhost:8377"}, 403),
    ({"origin": "http://127.0.0.1:8377.evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": ""}, 403),
    ({"sec-fetch-site": "cross-site"}, 403),
    ({"sec-fetch-site": "same-site"}, 403),
    ({"sec-fetch-site": "something-new"}, 403),
]
HARMLESS: list[dict[str, str]] = [
    {},
    {"host": "127.0.0.1"},
    {"host": "localhost:8377"},
    {"host": "LOCALHOST"},
    {"host": "[::1]:8377"},
    {"host": "[::1]"},
    {"host": "localhost:9000"},  # through a tunnel
    {"origin": BASE_URL},
    {"origin": "http://localhost:9000", "host": "localhost:9000", "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
]
PATHS = [re.sub(r"\{[^}]*\}", "x", route.path) for route in create_app().routes]  # type: ignore[attr-defined]


def test_there_are_routes_to_test() -> None:
    assert {"/", "/v1/health", "/v1/machine", "/v1/plan", "/v1/plans", OPENAPI_PATH} <= set(PATHS)


@pytest.mark.parametrize("path", [*PATHS, "/no/such/route"])
def test_every_route_refuses_the_hostile(ask: TestClient, path: str) -> None:
    for headers, status in HOSTILE:
        for method in ("GET", "POST", "OPTIONS"):
            response = ask.request(method, path, headers=headers)
            assert response.status_code == status, (method, headers)
            assert response.json()["message"].endswith(".")


@pytest.mark.parametrize("path", PATHS)
def test_every_route_answers_the_harmless(ask: TestClient, path: str) -> None:
    plain = ask.get(path).status_code
    assert plain in {200, 404, 405, 422}
    for headers in HARMLESS:
        assert ask.get(path, headers=headers).status_code == plain, headers


@pytest.mark.parametrize("path", [*PATHS, "/no/such/route"])
def test_every_route_refuses_changes_by_those_who_do_not_know_the_token(ask: TestClient, path: str) -> None:
    right = KNOWS["authorization"]
    wrong = ["", "Bearer", "Bearer ", right[:-1], right + "x", right.removeprefix("Bearer "), right.replace(" ", "")]
    for method in ("POST", "PUT", "PATCH", "DELETE", "BREW"):
        assert ask.request(method, path).status_code == 401
        for authorization in wrong:
            response = ask.request(method, path, headers={"authorization": authorization})
            assert response.status_code == 401, authorization
            assert response.headers["www-authenticate"] == "Bearer"
            assert right not in response.text
        assert ask.request(method, path, headers=KNOWS).status_code != 401


def test_the_token_is_asked_once_and_for_nothing_without_one() -> None:
    twice = [(b"host", b"127.0.0.1"), *[(b"authorization", KNOWS["authorization"].encode())] * 2]
    for token, headers in ((TOKEN, twice), ("", [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer ")])):
        unknown = Guard(FastAPI(), token)._unknown({"method": "POST", "headers": headers})
        assert unknown is not None
        assert unknown.status_code == 401


def test_one_host_and_only_one_must_be_named() -> None:
    ours = (b"host", b"127.0.0.1")
    assert refusal([ours]) is None
    assert refusal([]) is not None
    assert refusal([ours, ours]) is not None
    assert refusal([ours, (b"Host", b"evil.example")]) is not None
    assert refusal([(b"HOST", b"localhost")]) is None
    assert refusal([ours, (b"Origin", b"http://127.0.0.1"), (b"origin", b"http://evil.example")]) is not None


@given(host=st.binary(max_size=30) | st.text("127.0localhst:[]", max_size=20).map(str.encode))
def test_no_other_host_passes(host: bytes) -> None:
    ours = re.fullmatch(rb"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", host.lower())
    assert (refusal([(b"host", host)]) is None) <= bool(ours)


def test_each_response_carries_the_headers_whatever_made_it(world: World) -> None:
    app = world.app()

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("the password is swordfish")

    ask = TestClient(app, base_url=BASE_URL, raise_server_exceptions=False)
    big = b"x" * (BODY_LIMIT_BYTES + 1)
    seen = {
        200: ask.get("/v1/health"),
        400: ask.get("/v1/health", headers={"host": "evil.example"}),
        403: ask.get("/v1/health", headers={"origin": "null"}),
        404: ask.get("/nowhere"),
        401: ask.post("/v1/health"),
        405: ask.post("/v1/health", headers=KNOWS),
        413: ask.request("GET", "/v1/health", content=big),
        422: ask.get("/v1/plan"),
        500: ask.get("/broken"),
    }
    for status, response in seen.items():
        assert response.status_code == status
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        assert not [name for name in response.headers if name.startswith("access-control-")]
        assert "server" not in response.headers
    assert "swordfish" not in seen[500].text


def test_a_large_body_is_not_taken_in(world: World) -> None:
    app = world.app()

    @app.post("/take")
    def take(content: dict[str, str]) -> int:
        return len(content)

    ask = TestClient(app, base_url=BASE_URL, headers=KNOWS)
    assert ask.post("/take", json={"a": "b"}).json() == 1
    assert ask.post("/take", json={"a": "b" * BODY_LIMIT_BYTES}).status_code == 413

    def parts() -> Iterator[bytes]:
        yield b'{"a": "'
        for _ in range(100):
            yield b"b" * 1000

    assert ask.post("/take", content=parts(), headers={"content-type": "application/json"}).status_code == 413


def test_a_websocket_is_closed() -> None:
    app = FastAPI()
    said: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        said.append(message)

    asyncio.run(Guard(app)({"type": "websocket", "headers": []}, None, send))  # type: ignore[arg-type]
    assert said == [{"type": "websocket.close", "code": 1008}]
