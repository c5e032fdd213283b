"""A dashboard that really runs, and a browser to look at it with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import story

from tunesmith import store as stores

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking"
    " --disable-component-update --no-first-run"
).split()
START = """
import sys
from tunesmith_dashboard.launch import dashboard
sys.exit(dashboard(0))
"""


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


def started(home: Path) -> subprocess.Popen[str]:
    """Start a dashboard as the command line does."""
    env = os.environ | {"TUNESMITH_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", START]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def address_of(child: subprocess.Popen[str]) -> str:
    """Return what a dashboard says of its whereabouts."""
    assert child.stdout is not None
    said = child.stdout.readline()
    assert "http://127.0.0.1:" in said, said
    return said.split("at ")[1].split()[0]


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
    window.set_default_timeout(30_000)
    yield window
    context.close()


@pytest.fixture
def store(told: Path) -> stores.Store:
    return stores.open(told)
