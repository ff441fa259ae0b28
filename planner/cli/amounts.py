"""What people type for amounts."""

from __future__ import annotations

import re
from typing import TypeVar

from ...errors import UsageError

N = TypeVar("N", int, float)

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_budget(text: str) -> tuple[float | None, int | None]:
    """Return seconds or a number of trials from `20m`, `90s`, `1h`, `40trials`; the other one is None."""
    if trials := re.fullmatch(r"(-?\d{1,9}) ?trials?", text.strip()):
        return None, _positive(int(trials[1]), text)
    amount = re.fullmatch(r"(-?\d{1,9}(?:\.\d{1,9})?) ?([smh]?)", text.strip())
    if not amount:
        msg = f"A budget is a time such as 90s, 20m or 1h, or a number of trials such as 40trials; {text!r} was given."
        raise UsageError(msg)
    return _positive(float(amount[1]), text) * _SECONDS[amount[2]], None


def parse_share(text: str) -> float:
    """Return a share from `1%` or `0.01`."""
    amount = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9}) ?(%?)", text.strip())
    value = float(amount[1]) / (100 if amount[2] else 1) if amount else -1.0
    if not 0 < value < 1:
        msg = f"A tolerance is a share of the score such as 1% or 0.01; {text!r} was given."
        raise UsageError(msg)
    return value


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) in pixels from `1024x1024`, or from `512` for a square."""
    size = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip())
    if not size or min(sides := (int(size[1]), int(size[2] or size[1]))) < 8 or any(side % 8 for side in sides):
        msg = f"A size is WIDTHxHEIGHT in pixels, each a multiple of 8, such as 1024x1024; {text!r} was given."
        raise UsageError(msg)
    return sides


def _positive(value: N, text: str) -> N:
    if value <= 0:
        msg = f"A budget must be more than nothing; {text!r} was given."
        raise UsageError(msg)
    return value


def parse_bytes(text: str) -> int:
    """Return bytes from `3GiB`, `512MB` or a plain number."""
    from ..daemon.wire import bytes_of

    try:
        return bytes_of(text.strip())
    except ValueError as error:
        msg = f"An amount of memory is a number of bytes such as 3221225472 or 3GiB; {text!r} was given."
        raise UsageError(msg) from error
