"""What people type for amounts is understood, or answered with a sentence and an example; never with a surprise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import UsageError
from autotune.planner.cli.amounts import parse_budget, parse_bytes, parse_share, parse_size
from autotune.planner.said import said_ms, said_s


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("20m", (1200, None)),
        ("90s", (90, None)),
        ("90", (90, None)),
        ("1h", (3600, None)),
        ("1.5h", (5400, None)),
        ("0.5 s", (0.5, None)),
        (" 20m ", (1200, None)),
        ("40trials", (None, 40)),
        ("1 trial", (None, 1)),
    ],
)
def test_budgets(text: str, budget: tuple[float | None, int | None]) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["-5m", "-1", "0", "0s", "0.0h", "0trials", "-3 trials"])
def test_a_budget_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="more than nothing") as caught:
        parse_budget(text)
    assert repr(text) in str(caught.value)


NO_BUDGETS = ["", "soon", "5 minutes", "5d", "m", "1m30s", "1e9s", "inf", "nan", "5.m", "+5m", "1.5trials", "0x10"]


@pytest.mark.parametrize("text", [*NO_BUDGETS, "9" * 5000, "9" * 5000 + "trials", "0." + "1" * 5000])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as 90s, 20m or 1h"):
        parse_budget(text)


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.01", 0.01), (".5%", 0.005), ("99 %", 0.99), (".5", 0.5)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["", "0", "0%", "1", "100%", "-1%", "5", "200%", "a little", "1%%", "nan", "1e-3", "9" * 5000]
)
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"such as 1% or 0\.01"):
        parse_share(text)


@pytest.mark.parametrize(("text", "size"), [("1024x768", (1024, 768)), ("512", (512, 512)), (" 8x8 ", (8, 8))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "7",
        "0x512",
        "512x0",
        "100x100",
        "512x",
        "x512",
        "512X512",
        "-512",
        "1024x1024x3",
        "big",
        "9" * 5000,
        "8x" + "8" * 5000,
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as 1024x1024"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "count"), [("3GiB", 3 * 2**30), ("512MB", 512 * 10**6), ("3221225472", 3221225472), ("1.5KiB", 1536)]
)
def test_bytes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "lots", "-1", "3 giga", "3gib", "1.5", "9" * 5000, "GiB"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as 3221225472 or 3GiB"):
        parse_bytes(text)


ANYTHING = st.text() | st.text("0123456789.-+ %xsmhtrialGMKiB", max_size=12)


@given(ANYTHING)
def test_any_text_is_a_positive_amount_or_a_usage_error(text: str) -> None:
    for parse in (parse_budget, parse_share, parse_size, parse_bytes):
        try:
            found = parse(text)
        except UsageError as error:
            assert str(error).endswith(" was given.")  # noqa: PT017 - either is right
        else:
            amounts = found if isinstance(found, tuple) else (found,)
            assert all(amount is None or 0 <= amount < math.inf for amount in amounts)


@given(st.integers(1, 10**9 - 1), st.sampled_from([("s", 1), ("m", 60), ("h", 3600)]))
def test_whole_times_are_what_they_say(number: int, unit: tuple[str, int]) -> None:
    assert parse_budget(f"{number}{unit[0]}") == (number * unit[1], None)


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [(0.4, "0.4 ms"), (5.078, "5.08 ms"), (183.4, "183 ms"), (999.4, "999 ms"), (999.6, "1.00 s"), (4213.0, "4.21 s")],
)
def test_milliseconds_are_said(milliseconds: float, said: str) -> None:
    assert said_ms(milliseconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0.4 s"), (45.0, "45 s"), (59.7, "1 min 0 s"), (200.0, "3 min 20 s"), (0.0, "0 s")]
)
def test_seconds_are_said(seconds: float, said: str) -> None:
    assert said_s(seconds) == said
