"""The dashboard's process: on this machine only, safe settings, and no orphan."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from dashboards import address_of, started

from tunesmith.errors import StoreError, TunesmithError
from tunesmith_dashboard.child import SAFE
from tunesmith_dashboard.launch import dashboard

PATIENCE = 60.0


@contextmanager
def running(home: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process, int]]:
    """Yield the owner, its Streamlit child, and the port."""
    owner = started(home)
    try:
        port = urlsplit(address_of(owner)).port
        assert port is not None
        yield owner, psutil.Process(owner.pid).children()[0], port
    finally:
        owner.kill()
        owner.wait()


def gone(child: psutil.Process) -> bool:
    """Wait for a process to end; say whether it did."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_both_and_is_no_error(tmp_path: Path, signum: signal.Signals):
    with running(tmp_path) as (owner, child, _):
        owner.send_signal(signum)
        assert owner.wait(PATIENCE) == 0
        assert gone(child)


def test_a_killed_owner_leaves_no_orphan(tmp_path: Path):
    with running(tmp_path) as (owner, child, port):
        owner.kill()
        assert gone(child)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_it_listens_on_this_machine_only_and_refuses_other_names(tmp_path: Path):
    with running(tmp_path) as (_, child, port):
        listening = {
            one.laddr for one in child.net_connections() if one.status == psutil.CONN_LISTEN
        }
        assert {tuple(one) for one in listening} == {("127.0.0.1", port)}
        address = f"http://127.0.0.1:{port}"
        assert httpx.get(address).status_code == 200
        upgrade = {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        stream = f"{address}/_stcore/stream"
        evil = upgrade | {"Host": "evil.example", "Origin": "http://evil.example"}
        assert httpx.get(stream, headers=evil).status_code == 403
        assert httpx.get(stream, headers=upgrade | {"Origin": address}).status_code == 101
        flags = child.cmdline()
        assert flags[-1] == str(port)
        assert httpx.get(f"{address}/_stcore/agent").status_code == 404


def test_the_settings_that_keep_it_safe_are_fixed():
    assert SAFE["browser.gatherUsageStats"] == "false"
    assert SAFE["server.enableAgentApi"] == "false"
    assert SAFE["server.enableCORS"] == SAFE["server.enableXsrfProtection"] == "true"
    assert SAFE["server.fileWatcherType"] == "none"
    assert SAFE["server.address"] == "127.0.0.1"


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TunesmithError, match=f"Port {port} is taken.*--port"):
            dashboard(port, tmp_path)


def test_a_database_that_cannot_be_opened_is_told_before_anything_starts(tmp_path: Path):
    (tmp_path / "tunesmith.db").write_bytes(b"this is no database" * 100)
    before = {child.pid for child in psutil.Process(os.getpid()).children()}
    with pytest.raises(StoreError):
        dashboard(0, tmp_path)
    assert {child.pid for child in psutil.Process(os.getpid()).children()} == before
