"""A real browser on a daemon that listens; nothing it asks for may lead elsewhere, and it may complain of nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from autotune.tests.daemon.conftest import TOKEN, World, listening
from autotune.tests.daemon.family import GIB

from .jobs import Jobs

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1200, "height": 900}


@dataclass
class Site:
    """A daemon's pages, and the scripted jobs that they show."""

    url: str
    jobs: Jobs


@dataclass
class Watched:
    """Pages of a browser, with all that they asked for and complained of."""

    browser: Browser
    url: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def page(self, path: str = "/", *, trusted: bool = False, phone: bool = False, dark: bool = False) -> Page:
        """Open a page. trusted: with the token of the user, as the address that `autotune dashboard` opens gives it."""
        look: dict[str, Any] = {"viewport": PHONE if phone else DESK, "color_scheme": "dark" if dark else "light"}
        context = self.browser.new_context(**look, reduced_motion="reduce")
        self.contexts.append(context)
        if trusted:
            context.add_init_script(f"sessionStorage.setItem('autotune-token', '{TOKEN}')")
        page = context.new_page()
        page.on("request", lambda request: self.asked.append(request.url))
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.url + path)
        return page


# Of the module: while it plays, an event loop runs in this process, in which other tests could run none of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playing:
        opened = playing.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def site(_own_files: None) -> Iterator[Site]:
    world = World(free_bytes={"cpu": 22 * GIB, "cuda:0": 31 * GIB})
    jobs = Jobs(world.app())
    with listening(jobs) as url:  # type: ignore[arg-type]  # any ASGI app will do
        yield Site(url, jobs)
        jobs.end()


@pytest.fixture
def watched(browser: Browser, site: Site) -> Iterator[Watched]:
    seen = Watched(browser, site.url)
    yield seen
    for context in seen.contexts:
        context.close()
    assert not [url for url in seen.asked if urlsplit(url).netloc != urlsplit(site.url).netloc]
    assert not seen.complaints


def keep_screenshot(page: Page, folder: Path, name: str) -> None:
    """Write what the browser shows, in few colours: the docs show it."""
    from PIL import Image

    file = folder / f"{name}.png"
    page.screenshot(path=file)
    with Image.open(file) as shot:
        shot.convert("RGB").quantize(64).save(file, optimize=True)
