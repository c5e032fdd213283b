"""Servers that are started as the command line does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

PATIENCE = 120.0


@contextmanager
def serving(home: Path, *argv: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `tunesmith serve` as people do; yield the process and its address."""
    env = os.environ | {"TUNESMITH_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tunesmith.cli", "serve", *argv, "--port", "0"]
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        said = child.stdout.readline()
        assert "http://127.0.0.1:" in said, said
        yield child, said.split(" at ")[1].split("/v1")[0]
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
        child.wait(30)


def wait_until_ready(address: str) -> None:
    end = time.monotonic() + PATIENCE
    while httpx.get(f"{address}/readyz").status_code != 200:
        assert time.monotonic() < end, httpx.get(f"{address}/readyz").text
        time.sleep(0.1)
