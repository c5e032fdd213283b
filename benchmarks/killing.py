"""Kill a lifecycle with SIGKILL at named points, and check what is left.

The kill comes from an installed third-party plugin that listens to the public stage events, so the
product holds no code for it. ``tune:middle`` strikes half-way through the time that stage took in
an undisturbed run, ``tune:stored`` as soon as its artifact is in the store but (usually) not yet in
the ledger.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

POINTS = ("start", "middle", "stored", "end")
PLUGIN = '''
"""A plugin that kills its process at a named point of a run."""

import os
import signal
import threading
import time
from pathlib import Path

from tunesmith import hookimpl

STAGE, _, POINT = os.environ.get("KILL_AT", "").partition(":")
ARTIFACTS = Path(os.environ["TUNESMITH_HOME"]) / "artifacts"


def strike():
    os.kill(os.getpid(), signal.SIGKILL)


def when_stored(before):
    while set(os.listdir(ARTIFACTS)) <= before:
        time.sleep(0.0005)
    strike()


@hookimpl
def stage_started(stage):
    if stage != STAGE:
        return
    if POINT == "start":
        strike()
    if POINT == "middle":
        timer = threading.Timer(float(os.environ["KILL_AFTER"]), strike)
        timer.daemon = True
        timer.start()
    if POINT == "stored":
        before = set(os.listdir(ARTIFACTS)) | {".drafts"}
        threading.Thread(target=when_stored, args=(before,), daemon=True).start()


@hookimpl
def stage_finished(stage, cached):
    if stage == STAGE and POINT == "end" and not cached:
        strike()
'''


@dataclass(slots=True)
class Ground:
    """A home to kill runs in; ``config`` and ``overrides`` are what `tunesmith run` gets."""

    folder: Path
    config: Path
    overrides: Sequence[str] = ()
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        install_plugin(self.folder / "site")

    def run(self, *command: str, kill_at: str = "", kill_after: float = 0.0) -> int:
        """Run a `tunesmith` command; return its exit code, -9 when the plugin struck."""
        environment = {
            **os.environ,
            "TUNESMITH_HOME": str(self.home),
            "PYTHONPATH": str(self.folder / "site"),
            "KILL_AT": kill_at,
            "KILL_AFTER": str(kill_after),
        }
        environment.pop("PREFECT_API_URL", None)
        done = subprocess.run(
            [sys.executable, "-m", "tunesmith.cli", *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"tunesmith {' '.join(command)}: {done.returncode}\n{done.stdout}")
        return done.returncode

    def start(self, until: str = "", kill_at: str = "", kill_after: float = 0.0) -> int:
        """Start a new run of the config."""
        sets = [part for override in self.overrides for part in ("--set", override)]
        command = ("run", str(self.config), *sets, *_until(until))
        return self.run(*command, kill_at=kill_at, kill_after=kill_after)

    def resume(self, until: str = "", kill_at: str = "", kill_after: float = 0.0) -> int:
        """Go on with the newest run that is not complete."""
        return self.run("resume", *_until(until), kill_at=kill_at, kill_after=kill_after)

    def ask(self, question: str) -> list[tuple]:
        """Return rows of the database, read as an outsider would."""
        connection = sqlite3.connect(f"file:{self.home / 'tunesmith.db'}?mode=ro", uri=True)
        try:
            return connection.execute(question).fetchall()
        finally:
            connection.close()

    def results(self) -> dict[str, str]:
        """Return stage -> artifact of everything the ledger knows."""
        return dict(self.ask("SELECT stage, artifact_id FROM stage_entry"))

    def seconds(self) -> dict[str, float]:
        """Return how long each stage took."""
        rows = self.ask(
            "SELECT stage, (julianday(finished_at) - julianday(started_at)) * 86400"
            " FROM stage_attempt WHERE status = 'COMPLETED'"
        )
        return dict(rows)


def _until(stage: str) -> tuple[str, ...]:
    return ("--until", stage) if stage else ()


def install_plugin(site: Path) -> None:
    """Write the plugin as an installed distribution of its own."""
    about = site / "killer-1.0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (site / "killer.py").write_text(textwrap.dedent(PLUGIN), encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: killer\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[tunesmith]\nkiller = killer\n")


def orphans(home: Path, patience: float = 5.0) -> list[str]:
    """Return what still runs on behalf of a home after its owner is gone; wait for slow ends."""
    end = time.monotonic() + patience
    while (found := _running_for(home)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def _running_for(home: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("TUNESMITH_HOME") == str(home)
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def faults(ground: Ground, wanted: dict[str, str]) -> list[str]:
    """Return what a finished run must not leave behind, in words; empty when all is well."""
    found = []
    for stage, artifact in wanted.items():
        if ground.results().get(stage) != artifact:
            found.append(f"{stage}: {ground.results().get(stage)} instead of {artifact}")
    counts = Counter(stage for (stage,) in ground.ask("SELECT stage FROM stage_entry"))
    found += [f"{stage} is counted {n} times" for stage, n in counts.items() if n > 1]
    for table in ("run", "stage_attempt"):
        left = ground.ask(f"SELECT id FROM {table} WHERE status = 'RUNNING'")
        found += [f"{table} {row} is still RUNNING" for (row,) in left]
    found += [f"orphan: {one}" for one in orphans(ground.home)]
    found += [f"draft left: {one}" for one in _drafts(ground.home)]
    return found


def _drafts(home: Path) -> Iterable[str]:
    folder = home / "artifacts" / ".drafts"
    return [one.name for one in folder.iterdir()] if folder.is_dir() else []
