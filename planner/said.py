"""How amounts are said to people."""

from __future__ import annotations


def said_ms(milliseconds: float) -> str:
    """Return a time for people: `4.21 s`, `183 ms`, `5.08 ms`."""
    return f"{milliseconds / 1000:.2f} s" if round(milliseconds) >= 1000 else f"{milliseconds:.3g} ms"


def said_s(seconds: float) -> str:
    """Return a duration for people: `3 min 20 s`, `45 s`, `0.3 s`."""
    if seconds < 1:
        return f"{seconds:.1g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
