"""Start the dashboard: Streamlit as a child of this process, on this machine only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from tunesmith import store as stores
from tunesmith.errors import StoreError, TunesmithError
from tunesmith.settings import Home
from tunesmith.settings import home as default_home

HOST = "127.0.0.1"
PATIENCE = 60.0
"""Seconds that Streamlit has to come up."""


def dashboard(
    port: int = 8501, home: Home | Path | None = None, *, open_browser: bool = False
) -> int:
    """Show the dashboard until Ctrl-C; return the exit code.

    ``port`` 0 takes any free one. The database is opened first, so that an old or damaged one is
    told here and not in the browser. Raises TunesmithError when the port is taken.
    """
    place = _home(home)
    stores.reconcile(stores.open(place))
    free = _free_port(port)
    with _child(free, place) as child, _terminated_like_interrupted():
        try:
            _wait_until_up(child, free)
            Console().print(f"The dashboard is at http://{HOST}:{free} (Ctrl-C ends it).")
            if open_browser:
                webbrowser.open(f"http://{HOST}:{free}")
            return child.wait()
        except KeyboardInterrupt:
            return 0


def _home(home: Home | Path | None) -> Home:
    if home is None:
        return default_home()
    return home if isinstance(home, Home) else Home(Path(home).absolute())


def _free_port(port: int) -> int:
    """Return the port if nobody listens there (0: any free one); raise TunesmithError if not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise TunesmithError(
                f"Port {port} is taken, perhaps by another dashboard ({error.strerror})."
                " Give another one with --port, or 0 for any that is free."
            ) from error
        return int(probe.getsockname()[1])


@contextmanager
def _child(port: int, home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """Yield the Streamlit process; leaving ends it. It also ends when this process dies.

    The child reads from a pipe that only this process holds: when that ends, so does the child.
    It has a session of its own, so that Ctrl-C reaches it once, through here.
    """
    command = [sys.executable, "-m", "tunesmith_dashboard.child", str(port)]
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"TUNESMITH_HOME": str(home.path)},
    )
    try:
        yield child
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.stdin:
        child.stdin.close()


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end the dashboard as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_until_up(child: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if child.poll() is not None:
            raise StoreError(f"Streamlit ended at once with code {child.returncode}.")
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.1)
    raise StoreError(f"Streamlit does not answer on port {port} after {PATIENCE:.0f} s.")
