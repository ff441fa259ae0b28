"""The daemon's log: sentences for people, or a JSON object a line for what collects logs. Secrets are in neither."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

Form = Literal["text", "json"]

LEAST_SECRET = 8
"""What is shorter would be found in words by chance."""
_NAMES_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.IGNORECASE)
_HIDDEN = "[secret]"


class Lines(logging.Formatter):
    """A line for each record, without secrets: as JSON with `time`, `level`, `event`, its facts, and `error` if any."""

    def __init__(self, form: Form, secrets: Sequence[str]) -> None:
        """Take the form, and what no line may say."""
        super().__init__("%(levelname)s: %(message)s")
        self._form = form
        hidden = [each for each in secrets if len(each) >= LEAST_SECRET]
        spelt = [json.dumps(each)[1:-1] for each in hidden]  # as they look within JSON
        self._secrets = sorted({*hidden, *spelt}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = _json(record, self) if self._form == "json" else super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, _HIDDEN)
        return line


def _json(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    said = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "event": record.getMessage(),
        **getattr(record, "facts", {}),
    }
    if record.exc_info:
        said["error"] = formatter.formatException(record.exc_info)
    return json.dumps(said, default=str)


@contextmanager
def logging_as(form: Form, token: str) -> Iterator[None]:
    """Write to standard error what goes on in this process: as text what goes wrong, as JSON also what happens."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(form, [token, *secrets_of_environment()]))
    root, ours = logging.getLogger(), logging.getLogger("autotune")
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.INFO if form == "json" else logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(before)


def secrets_of_environment() -> list[str]:
    """Return the values of variables whose names say that they are secret."""
    return [value for name, value in os.environ.items() if _NAMES_SECRET.search(name)]
