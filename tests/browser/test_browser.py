"""The pages in a real browser: they move, their marks open, keys suffice, and nothing leaves the machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotune.planner.pages.report import account, report
from autotune.planner.spot.play import shown
from autotune.store.blind import read_set
from autotune.tests.daemon.conftest import TOKEN
from autotune.tests.pages import tuned
from autotune.tests.spot import pictures

from .conftest import keep_screenshot

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from .conftest import Site, Watched

pytestmark = pytest.mark.slow

SCREENSHOTS = os.environ.get("SCREENSHOTS")
"""Where to write them: `SCREENSHOTS=docs/screenshots pytest tests/browser` makes those of the docs anew."""


def test_progress_of_a_job_moves_live_and_it_can_be_told_to_pause(watched: Watched, site: Site) -> None:
    tuned.keep()
    site.jobs.begin(budget_s=100.0)
    page = watched.page(trusted=True)
    bar = page.locator("#jobs progress")
    bar.wait_for()
    assert bar.evaluate("bar => bar.value") == 0
    trial = {"number": 0, "outcome": "ok", "recipe": {"turned": {}}, "latency": {"samples_ms": [1830.0]}}
    site.jobs.say("trial_end", 20.0, trial=trial)
    until(page, "document.querySelector('#jobs progress').value === 20")
    site.jobs.say("trial_start", 21.0, recipe={"precision": "bf16"})
    page.get_by_text("precision=bf16", exact=True).first.wait_for()
    faster = {**trial, "number": 1, "recipe": {"turned": {"precision": "bf16"}}, "latency": {"samples_ms": [402.0]}}
    site.jobs.say("trial_end", 60.0, trial=faster)
    page.get_by_text("best 402 ms, baseline 1.83 s").wait_for()
    assert bar.evaluate("bar => bar.value") == 60
    page.get_by_text("Log", exact=True).click()
    assert "1 ok 402 ms precision=bf16" in page.locator("#jobs .log").inner_text()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    assert site.jobs.told == [("pause", f"Bearer {TOKEN}")]


def test_the_front_draws_and_its_marks_open_recipes(watched: Watched) -> None:
    tuned.keep()
    page = watched.page("/models/shapes")
    marks = page.locator(".chart a.plan, .chart a.front, .chart a.tried, .chart a.baseline, .chart a.failed")
    assert marks.count() == 2 * 40
    box = page.locator("svg.chart").first.bounding_box()
    assert box is not None
    assert box["width"] > 400
    plan = page.locator(".chart a.plan").first
    plan.hover()
    assert "compile=openvino guidance_cutoff=0.5 precision=bf16: 402 ms" in page.locator(".says").first.inner_text()
    plan.click()
    page.wait_for_url("**/trials/**")
    assert page.locator("h1").inner_text() == "compile=openvino guidance_cutoff=0.5 precision=bf16"
    images = page.locator(".trio img")
    assert images.count() == 8
    assert images.evaluate_all("all => all.every(image => image.complete && image.naturalWidth === 128)")


def test_a_blind_set_is_played_to_its_verdict_by_keys_alone(watched: Watched, tmp_path: Path) -> None:
    blind = pictures.kept(tmp_path, pairs=6)
    page = watched.page(f"/blind/{blind.id}", trusted=True)
    for place, screen in enumerate(blind.screens):
        page.locator(f"#stage[data-screen='{place}'] .choices:not([hidden])").wait_for()
        assert page.locator(".choices img").evaluate_all("all => all.every(image => image.complete)")
        page.keyboard.press("1" if screen.other in {screen.left, ""} else "ArrowRight")
    page.get_by_text("Shown to be distinguishable: 6 of 6 spotted").wait_for()
    assert shown(blind.id).state == "finished"
    assert read_set(blind.id) == blind


def test_nothing_that_a_browser_has_tells_the_two_apart(watched: Watched, tmp_path: Path) -> None:
    blind = pictures.kept(tmp_path, pairs=6)
    page = watched.page(f"/blind/{blind.id}", trusted=True)
    page.locator(".choices:not([hidden])").wait_for()
    left, right = (page.locator(".choices button").nth(place).evaluate(LOOKS) for place in (0, 1))
    assert left == right
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').filter(e => e.name.endsWith('.png')).map(e => e.encodedBodySize)"
    )
    assert len(set(sizes)) == 1
    assert not re.search(r"bnb|quantization=|unmodified|damaged|identical|shapes", page.content())


LOOKS = """button => {
  const image = button.querySelector('img');
  const names = (node) => [...node.attributes].map(each => each.name).sort();
  const sizes = [image.naturalWidth, image.naturalHeight, image.clientWidth, image.clientHeight];
  return JSON.stringify([names(button), names(image), sizes, image.className]);
}"""
SIZES = "performance.getEntriesByType('resource').filter(e => e.name.endsWith('.png')).map(e => e.encodedBodySize)"


def test_keys_suffice(watched: Watched) -> None:
    tuned.keep()
    page = watched.page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to(page, "shapes")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/shapes")
    tab_to(page, "compile=openvino guidance_cutoff=0.5 precision=bf16: 402 ms")
    assert "402 ms" in page.locator(".says").first.inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url("**/trials/**")


def until(page: Page, wanted: str) -> None:
    """Wait until an expression is true. Playwright's own way of waiting needs `eval`, which the pages forbid."""
    for _ in range(200):
        if page.evaluate(wanted):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {wanted}")


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what is meant has the focus, and check that this can be seen."""
    said = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(said).startswith(name):
            return
    pytest.fail(f"{name} cannot be reached by keys")


def test_a_code_in_the_address_becomes_the_token_and_is_gone(watched: Watched, site: Site) -> None:
    import urllib.request

    asking = urllib.request.Request(  # noqa: S310 - our own url
        f"{site.url}/v1/doors", data=b"{}", method="POST", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(asking) as answer:  # noqa: S310 - our own url
        code = answer.read().decode().partition('"code":"')[2].partition('"')[0]
    page = watched.page(f"/#code={code}")
    until(page, "sessionStorage.getItem('autotune-token')")
    assert page.evaluate("sessionStorage.getItem('autotune-token')") == TOKEN
    assert "code" not in page.url


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_nothing_runs_over_the_edge(watched: Watched, site: Site, tmp_path: Path, look: str) -> None:
    run = tuned.keep()
    tuned.keep(12, model="flux-dev", finished=False)
    _, (plan, _) = tuned.run(name=run)
    site.jobs.begin()
    site.jobs.say("trial_start", 45.0, recipe={"precision": "bf16", "compile": "openvino"})
    blind = pictures.kept(tmp_path, pairs=6)
    folder = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path
    places = {
        "overview": "/",
        "front": "/models/shapes",
        "plan": f"/plans/{plan.id}",
        "trial": f"/trials/{run}/1/shapes",
    }
    for name, place in {**places, "history": "/history/shapes", "spot": "/spot", "blind": f"/blind/{blind.id}"}.items():
        page = watched.page(place, trusted=True, phone=look == "phone", dark=look == "dark")
        page.locator("#jobs progress, .choices:not([hidden]), h1").last.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        if name in {"overview", "front", "plan"}:
            keep_screenshot(page, folder, f"{name}-{look}")
            assert (folder / f"{name}-{look}.png").stat().st_size > 4000


def test_the_report_opens_from_the_disk(browser: Browser, tmp_path: Path) -> None:
    tuned.keep()
    file = tmp_path / "report.html"
    file.write_text(report(account("shapes"), "html"), encoding="utf-8")
    page = browser.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: complaints.append(said.text))
    page.goto(file.as_uri())
    assert "4.55 times as fast" in page.locator("h1").inner_text()
    assert page.locator(".trio img").evaluate_all(
        "all => all.length === 6 && all.every(image => image.naturalWidth > 0)"
    )
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert not complaints
    page.close()
