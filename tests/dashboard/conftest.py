"""A dashboard that really runs, and a browser to look at it with."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import story
from dashboards import address_of, started

from tunesmith import store as stores

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking"
    " --disable-component-update --no-first-run"
).split()


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one complete run, one that failed, and one that waits for people."""
    home = tmp_path_factory.mktemp("home")
    story.tell(home)
    story.tell(home, failing="align")
    story.waiting(home)
    return home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home that the pages of this process read."""
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def address(told: Path) -> Iterator[str]:
    """Where a dashboard of that home answers."""
    child = started(told)
    try:
        yield address_of(child)
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"no browser at {CHROMIUM}")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window that notes every request it makes to somebody else, and every error."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    window = context.new_page()
    window.set_default_timeout(90_000)
    yield window
    context.close()


@pytest.fixture
def store(told: Path) -> stores.Store:
    return stores.open(told)
