"""The report: one file that says what came of a tuning, and asks for nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autotune.errors import NoPlanError, UsageError
from autotune.planner.cli.looking import report as command
from autotune.planner.pages.account import Account, account_of
from autotune.planner.pages.report import account, charts_of, report
from autotune.tests.daemon.family import MACHINE

from . import tuned

MOST_BYTES = 6 * 2**20


@pytest.fixture
def told() -> Account:
    tuned.keep()
    return account("shapes")


class Asked(HTMLParser):
    """Collects what a page would fetch, and its images without a word for those who do not see them."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.unsaid: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.fetched += [str(said[name]) for name in ("src", "srcset", "data", "poster") if said.get(name)]
        if tag in {"script", "link", "iframe", "object", "form"}:
            self.fetched.append(tag)
        if tag == "img" and not said.get("alt"):
            self.unsaid.append(str(attrs))
        if tag == "a":
            self.links.append(str(said.get("href")))
        self.ids += [str(said["id"])] if "id" in said else []


def asked(page: str) -> Asked:
    parser = Asked()
    parser.feed(page)
    return parser


def test_it_says_the_result_in_a_sentence(told: Account) -> None:
    assert told.headline == (
        "shapes runs 4.55 times as fast as the unmodified pipeline, at 0.996 of its CLIP score (0.99 was asked), "
        "in 90 MiB less memory."
    )


@pytest.mark.parametrize("form", ["html", "md"])
def test_it_says_all_that_it_should(told: Account, form: str) -> None:
    page = report(told, form)  # type: ignore[arg-type]  # one of the two
    wanted = ["4.55 times as fast", "compile=openvino", "402 ms", "520 MiB", "ran out of memory", "9.12 GiB", "A100"]
    wanted += ["torch", "2.13.0", "Debian GNU/Linux 12", told.command, "2.31", "1.83 s"]
    assert not [each for each in wanted if each not in page]
    assert all(f"{dot.recipe}" in page for dot in told.dots)


def test_it_asks_for_nothing(told: Account) -> None:
    page = report(told, "html")
    found = asked(page)
    assert found.fetched
    assert all(each.startswith("data:image/") for each in found.fetched)
    assert not re.search(r"@import|url\(|https?://", page)
    assert not found.unsaid
    assert len(page.encode()) < MOST_BYTES


def test_marks_lead_to_their_trials(told: Account) -> None:
    found = asked(report(told, "html"))
    leading = [link for link in found.links if link.startswith("#trial-")]
    assert len(leading) > len(told.dots)
    assert {link.removeprefix("#") for link in leading} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))


def test_text_of_others_is_text(told: Account) -> None:
    assert "<b>matmul</b>" not in report(told, "html")
    assert "&lt;b&gt;matmul&lt;/b&gt;" in report(told, "html")


def test_every_trial_is_in_the_picture_or_counted(told: Account) -> None:
    for chart in charts_of(told):
        assert len(chart.marks) + len(chart.failed) + chart.left_out == len(told.dots)
        assert all(92 <= mark.x <= 704 and 34 <= mark.y <= 328 for mark in chart.marks)
        assert len(chart.xs) >= 2
        assert len(chart.ys) >= 3


def test_the_front_is_a_stair_that_nothing_lies_beyond(told: Account) -> None:
    quality, memory = charts_of(told)
    for chart, worse in ((quality, 1), (memory, -1)):
        places = [(float(x), worse * float(y)) for x, y in re.findall(r"[MH]([\d.]+)[ V]([\d.]+)", chart.line)]
        assert places == sorted(places)
        assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)
        for mark in (mark for mark in chart.marks if mark.dot.role != "tried"):
            assert any(x <= mark.x and y <= worse * mark.y for x, y in places)


def test_of_very_many_trials_those_that_matter_are_drawn() -> None:
    [chart, _] = charts_of(account_of(*tuned.run(1500), MACHINE))
    roles = [mark.dot.role for mark in chart.marks]
    assert len(roles) == 400
    assert chart.left_out > 500
    assert roles.count("baseline") == 1
    assert roles.count("plan") == 2
    assert roles[-1] == "baseline"
    drawn = [mark.dot.latency_ms or 0.0 for mark in chart.marks if mark.dot.role == "tried"]
    assert min(drawn) < 500
    assert max(drawn) > 2280, "the slow ones are seen too"


def test_without_a_plan_it_says_why() -> None:
    tuned.keep(finished=False)
    told = account("shapes")
    assert told.headline == "No plan for shapes yet: the search has not ended."
    assert "The same prompt" not in report(told, "html")


def test_without_trials_there_is_nothing_to_report() -> None:
    with pytest.raises(NoPlanError, match="Nothing was tried with shapes here yet"):
        account("shapes")


def test_the_account_is_json_both_ways(told: Account) -> None:
    assert Account.model_validate_json(told.model_dump_json()) == told


def test_the_command_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned.keep()
    command("shapes", tmp_path / "report.md")
    assert "4.55 times as fast" in capsys.readouterr().out
    assert (tmp_path / "report.md").read_text().startswith("**shapes runs 4.55 times as fast")
    with pytest.raises(UsageError, match="neither"):
        command("shapes", tmp_path / "report.pdf")
    with pytest.raises(UsageError, match="cannot be written"):
        command("shapes", tmp_path / "nowhere" / "report.md")
