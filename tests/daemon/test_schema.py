"""Every route keeps to the schema that it gives of itself, whatever it is asked."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from autotune.planner.daemon.app import OPENAPI_PATH, App, create_app
from autotune.planner.jobs.queue import Queue
from autotune.store.store import Store

from .conftest import KNOWS, TOKEN
from .family import GIB, MACHINE, keep

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
HEADERS = {**KNOWS, "host": "127.0.0.1"}
ASKED = 8
"""Requests of each route that are as the schema says, and as many that are not."""


def test_every_route_answers_as_it_says() -> None:
    """None fails, and each answer has a status, a content type and a body that the schema knows."""
    keep()
    queue = Queue(Store.read, Store.open, (sys.executable, "-c", ""))  # jobs that are asked for end at once
    app = cast(
        "App", create_app(probe=lambda: MACHINE, free_memory=lambda _: {"cpu": 100 * GIB}, token=TOKEN, queue=queue)
    )
    schema = schemathesis.openapi.from_asgi(OPENAPI_PATH, app, headers=HEADERS)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 10
    for operation in operations:
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=ASKED, derandomize=True, deadline=None, suppress_health_check=[*HealthCheck])
            def answers(case: Case[Any]) -> None:
                case.call_and_validate(headers=HEADERS, checks=CHECKS)

            try:
                with suppress(Unsatisfiable):  # what takes nothing can be asked in one way only
                    answers()
            except Exception as error:  # noqa: BLE001 - schemathesis raises groups of its own
                pytest.fail(f"{operation.label}: {error}")
    assert {200, 404, 422} <= {int(status) for status in app.answered}
