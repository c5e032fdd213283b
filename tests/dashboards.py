"""Dashboards that are started as the command line does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

START = """
import sys
from tunesmith_dashboard.launch import dashboard
sys.exit(dashboard(0))
"""


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
