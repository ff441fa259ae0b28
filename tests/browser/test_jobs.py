"""Jobs in a real browser, of a daemon with its real queue, each in a process of its own that plays a tuner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from autotune.planner.daemon.app import create_app
from autotune.planner.jobs.queue import Queue
from autotune.search.recipe import Recipe
from autotune.store.blind import read_set
from autotune.store.store import Store
from autotune.tests.daemon.conftest import TOKEN, listening
from autotune.tests.daemon.family import GIB, MACHINE
from autotune.tests.jobs.conftest import Stage, order, over, until
from autotune.tests.pages import tuned

from .conftest import Watched, keep_screenshot

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from autotune.search.plan import Plan

pytestmark = pytest.mark.slow


@dataclass
class Working:
    """A daemon that does jobs, and a browser that looks on."""

    queue: Queue
    watched: Watched


@pytest.fixture
def working(browser: Browser, _own_files: None, tmp_path: Path) -> Iterator[Working]:
    folder = tmp_path / "trials"
    folder.mkdir()
    queue = Stage(folder).queue()
    app = create_app(probe=lambda: MACHINE, free_memory=lambda _: {"cpu": 22 * GIB}, token=TOKEN, queue=queue)
    with listening(app) as url:
        seen = Watched(browser, url)
        yield Working(queue, seen)
        for context in seen.contexts:
            context.close()
    assert not seen.complaints


def test_a_job_is_paused_resumed_and_stopped_from_its_page(working: Working) -> None:
    job = working.queue.add(order(most_trials=2000))
    page = working.watched.page(trusted=True)
    page.locator("#jobs h3 a").click()
    page.wait_for_url(f"**/jobs/{job.id}")
    page.locator(".log div", has_text="threads=7").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    paused = until(working.queue, job, lambda found: found.state == "paused")
    assert page.locator("#jobs .tag").inner_text() == "Ⅱ paused"
    page.get_by_role("button", name="Resume").click()
    page.locator(".log div", has_text=f"threads={paused.trials + 3}").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.locator("#jobs .tag", has_text="stopped").wait_for()
    assert working.queue.job(job.id).state == "stopped"
    assert page.get_by_role("button").count() == 0
    said = page.locator(".log div").all_inner_texts()
    trials = [line.split()[0] for line in said if " ok " in line]
    assert trials == [str(number) for number in range(len(trials))], "each once, over both sittings"
    page.reload()
    page.locator(".log div", has_text="stopped").wait_for()
    assert page.locator(".log div").all_inner_texts() == said, "who comes late reads all of it"


def test_a_job_is_cancelled_with_its_process(working: Working) -> None:
    job = working.queue.add(order(most_trials=2000))
    page = working.watched.page(f"/jobs/{job.id}", trusted=True)
    page.get_by_role("button", name="Cancel").click()
    page.locator("#jobs .tag", has_text="cancelled").wait_for()
    assert over(working.queue, job).pid == 0


def test_who_only_looks_is_told_that_the_token_is_needed(working: Working) -> None:
    job = working.queue.add(order(most_trials=2000))
    page = working.watched.page(f"/jobs/{job.id}")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("alert").get_by_text("autotune dashboard").wait_for()
    assert working.queue.job(job.id).state == "running"
    assert "401" in working.watched.complaints.pop()  # Chromium notes each answer that is no success


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_no_job_runs_over_the_edge(working: Working, tmp_path: Path, look: str) -> None:
    over(working.queue, working.queue.add(order("crash")))
    over(working.queue, working.queue.add(order("refused")))
    job = working.queue.add(order(most_trials=2000, budget_s=600))
    for name, place in {"jobs": "/jobs", "job": f"/jobs/{job.id}"}.items():
        page = working.watched.page(place, trusted=True, phone=look == "phone", dark=look == "dark")
        page.locator("#jobs .recipe", has_text="threads=").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        keep_screenshot(page, tmp_path, f"{name}-{look}")


def a_plan() -> Plan:
    """Keep a plan of the model that ships with autotune, for calls that take a moment."""
    small = tuned.SCOPE.workload.model_copy(update={"width": 64, "height": 64, "steps": 2})
    baseline, other, *_ = tuned.trials()
    with Store.open() as store:
        run = store.begin_run(tuned.SCOPE.model_copy(update={"workload": small}), MACHINE, fresh=True)
        trial = other.model_copy(update={"recipe": Recipe(turned={"precision": "bf16"})})
        plan = tuned.plan_of(trial, baseline, run.id, run.scope)
        store.finish_run(run.id, "the budget was used", [plan], finished=True)
    return plan


@pytest.mark.usefixtures("_own_files")
def test_a_set_of_a_plan_is_rendered_and_judged(browser: Browser) -> None:
    """Of the real model, by the process that really does jobs."""
    plan, queue = a_plan(), Queue(Store.read, Store.open)
    app = create_app(probe=lambda: MACHINE, free_memory=lambda _: {"cpu": 22 * GIB}, token=TOKEN, queue=queue)
    with listening(app) as url:
        seen = Watched(browser, url)
        page = seen.page(f"/plans/{plan.id}", trusted=True)
        page.get_by_role("link", name="look yourself").click()
        page.get_by_label("Prompts").fill("a large red circle on a blue background\na small green square")
        page.get_by_label("Pairs").fill("4")
        page.get_by_role("button", name="Make the pairs").click()
        page.wait_for_url("**/jobs/**")
        page.get_by_role("link", name="Judge the pairs").click(timeout=PATIENCE_MS)
        page.wait_for_url("**/blind/**")
        blind = read_set(page.url.rpartition("/")[2])
        assert blind is not None
        assert (blind.model, blind.recipe, len(blind.screens)) == ("shapes", "precision=bf16", 8)
        for place, screen in enumerate(blind.screens):
            page.locator(f"#stage[data-screen='{place}'] .choices:not([hidden])").wait_for()
            assert page.locator(".choices img").evaluate_all(NOT_FLAT) == [True, True]
            page.keyboard.press("ArrowRight" if screen.kind == "damaged" and screen.other == screen.right else "1")
        page.locator("h1", has_text="hown to be distinguishable: ").wait_for()
        verdict = page.locator("h1").inner_text()
        page.get_by_role("link", name="To the plan").click()
        page.get_by_text(verdict).wait_for()
        page.goto(f"{url}/spot")
        page.get_by_text("8 of 8").wait_for()
        for context in seen.contexts:
            context.close()
    assert not seen.complaints


PATIENCE_MS = 300_000
NOT_FLAT = """all => all.map(image => {
  const size = { width: image.naturalWidth, height: image.naturalHeight };
  const canvas = Object.assign(document.createElement("canvas"), size);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(pixels.buffer)).size > 1;
})"""
