"""Every route that the app has, or will have, asked in each way that is known to have opened others."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from starlette.routing import BaseRoute, Route

from autotune.store.places import data_dir
from autotune.store.store import FILE_NAME, Store

from ..daemon.conftest import KNOWS, TOKEN, World
from ..daemon.family import keep, plan_of
from ..faults.settings import MORE
from .asgi import Reply, ask
from .corpus import BODIES, CANARY, QUOTES, TRAVERSALS, TYPES

if TYPE_CHECKING:
    from fastapi import FastAPI

SCHEMA = {"/v1/openapi.json"}
FUZZED = 300 * MORE


def routes_of(app: FastAPI) -> list[Route]:
    found: list[BaseRoute] = [*app.routes]
    assert all(isinstance(route, Route) for route in found), "a mount would have to be looked into"
    return [route for route in found if isinstance(route, Route)]


ROUTES = {
    (route.path, method) for route in routes_of(World().app()) for method in route.methods or () if method != "HEAD"
}
WITH_PARAMETERS = sorted(path for path, method in ROUTES if "{" in path and method == "GET")
CHANGING = sorted(path for path, method in ROUTES if method not in {"GET", "OPTIONS"})


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    """A daemon with plans, in a home with a secret, and a link to it."""
    keep()
    (tmp_path / "secret.txt").write_text(CANARY)
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "token").write_text(TOKEN)
    for folder in (tmp_path / "data", tmp_path / "state"):
        (folder / "link").symlink_to(tmp_path)
        (folder / "secret.txt").write_text(CANARY)
    return World().app()


def filled(path: str, value: str) -> str:
    """Return a route's path with each parameter filled with a value."""
    return re.sub(r"\{[^}]*\}", lambda _: value, path)


def check_harmless(reply: Reply, asked: object) -> None:
    """Check that a reply is a refusal or harmless, and gives nothing away."""
    assert reply.status < 500, (asked, reply)
    for secret in (CANARY, TOKEN, "root:x:0:0"):
        assert secret.encode() not in reply.content, asked
    if reply.headers.get("content-type", "").startswith("application/json"):
        json.loads(reply.content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("path", [*WITH_PARAMETERS, "/static/{name}", "/{anything}", "{anything}"])
def test_no_path_leads_out(app: FastAPI, path: str) -> None:
    for value in TRAVERSALS:
        for written in (value, quote(value, safe=""), quote(quote(value, safe=""), safe="")):
            asked = filled(path, written)
            reply = ask(app, asked if asked.startswith("/") else f"/{asked}")
            check_harmless(reply, asked)


def test_no_path_of_a_thousand_leads_out(app: FastAPI) -> None:
    rng = random.Random(1)
    pieces = [
        "..",
        ".",
        "%2e%2e",
        "%2f",
        "/",
        "//",
        "\\",
        "%5c",
        "secret.txt",
        "link",
        "state",
        "token",
        "%00",
        "static",
        "~",
    ]
    for _ in range(FUZZED):
        value = "".join(rng.choices(pieces, k=rng.randint(1, 8)))
        asked = filled(rng.choice(WITH_PARAMETERS), value)
        check_harmless(ask(app, asked), asked)


@pytest.mark.parametrize("name", ["model", "revision", "device", "adapters", "distilled", "max_memory", "min_quality"])
def test_no_quote_gets_into_the_question(app: FastAPI, name: str) -> None:
    keep([plan_of(model="hidden")])
    for text in QUOTES:
        query = f"{name}={quote(text, safe='')}" + ("" if name == "model" else "&model=shapes")
        reply = ask(app, "/v1/plan", query)
        check_harmless(reply, query)
        assert reply.status in {404, 422} or name != "model", query
        assert b"hidden" not in reply.content or reply.status != 200, query
    with Store.read(data_dir() / FILE_NAME) as store:
        assert len(store.plans("shapes")) == 3
        assert store.damage == ()


@pytest.mark.parametrize("path", WITH_PARAMETERS)
def test_no_quote_in_a_path_gets_further(app: FastAPI, path: str) -> None:
    for text in QUOTES:
        check_harmless(ask(app, filled(path, quote(text, safe=""))), (path, text))
    with Store.read(data_dir() / FILE_NAME) as store:
        assert len(store.plans("shapes")) == 3


@pytest.mark.parametrize("path", CHANGING)
def test_no_body_breaks_it(app: FastAPI, path: str) -> None:
    filler = "0" * 16
    before = (data_dir() / FILE_NAME).read_bytes()
    for number, body in enumerate(BODIES):
        for kind in TYPES if number < 4 else TYPES[:1]:
            headers = {"content-type": kind, "content-length": str(len(body))}
            asked = filled(path, filler)
            check_harmless(ask(app, asked, method="POST", body=body, headers={**headers, **KNOWS}), (asked, body[:60]))
            assert ask(app, asked, method="POST", body=body, headers=headers).status == 401
            hostile = {**headers, **KNOWS, "origin": "http://evil.example"}
            assert ask(app, asked, method="POST", body=body, headers=hostile).status == 403
    assert (data_dir() / FILE_NAME).read_bytes() == before


def test_the_routes_are_all_here() -> None:
    assert len(ROUTES) > 20
    assert len(CHANGING) >= 3
    assert {path for path, _ in ROUTES} >= SCHEMA


def test_nothing_but_get_is_free_of_the_token(app: FastAPI) -> None:
    for path, _ in sorted(ROUTES):
        for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND"):
            assert ask(app, filled(path, "x"), method=method).status == 401, (method, path)


def test_no_page_gives_the_token_away(app: FastAPI) -> None:
    for path, method in sorted(ROUTES):
        if method == "GET":
            for value in ("x", "shapes", "0" * 16, "0" * 32):
                check_harmless(ask(app, filled(path, value), headers={"accept": "text/html"}), path)
