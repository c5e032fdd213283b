"""The private Prefect server: one child on a free local port, which dies with its owner.

Prefect 3.8 has no in-process mode, its own ephemeral server outlives a killed owner, writes to the
user's ``~/.prefect`` and talks to anyone on the machine. This one keeps its files in the home, asks
for a password that changes each time, sends nothing home, and ends when its owner does. Run as a
module this file *is* that child.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx

from tunesmith.errors import StoreError

log = logging.getLogger("tunesmith.flows")
TIMEOUT = 120.0
SILENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
}
# A run that is started here needs none of the loops that look for work to hand out.
LOOPS = (
    "CANCELLATION_CLEANUP",
    "DB_VACUUM",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)
PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Server:
    """A Prefect server that is starting or up; ``child`` is None when somebody else owns it."""

    url: str
    auth: str | None
    home: Path
    child: subprocess.Popen[bytes] | None = None
    private: Path | None = None
    lock: IO[str] | None = field(default=None, repr=False)

    def wait(self, timeout: float = TIMEOUT) -> Server:
        """Return once it answers; raise StoreError when it died or ``timeout`` seconds passed."""
        end = time.monotonic() + timeout
        while not _healthy(self.url):
            if self.child is not None and self.child.poll() is not None:
                raise StoreError(
                    f"The private Prefect server ended with code {self.child.returncode}."
                    f" Its last words: {self._last_words()}"
                )
            if time.monotonic() > end:
                raise StoreError(
                    f"No Prefect server answers at {self.url} after {timeout:.0f} s;"
                    f" see {self.log_file}."
                )
            time.sleep(0.05)
        return self

    @property
    def log_file(self) -> Path:
        """Where the child writes what it has to say."""
        return self.home / "server.log"

    def stop(self) -> None:
        """End the child, if it is ours, and free the database it held."""
        if self.child is not None:
            self.child.terminate()
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
            if self.child.stdin:
                self.child.stdin.close()
        if self.lock is not None:
            self.lock.close()
        if self.private is not None:
            shutil.rmtree(self.private, ignore_errors=True)

    def _last_words(self) -> str:
        if not self.log_file.is_file():
            return "none."
        return self.log_file.read_text(encoding="utf-8", errors="replace").strip()[-400:] or "none."


def start(folder: Path, *, scheduling: bool = False) -> Server:
    """Return a server that is coming up; one named by ``PREFECT_API_URL`` is used as it is.

    ``folder`` holds Prefect's database. A second run at the same time gets a folder of its own,
    for two servers on one SQLite file lock each other out.
    """
    named = os.environ.get("PREFECT_API_URL")
    if named:
        return Server(named.rstrip("/"), os.environ.get("PREFECT_API_AUTH_STRING"), folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "owner.lock").open("a", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        private = Path(tempfile.mkdtemp(prefix="prefect-", dir=folder))
        return _launch(private, scheduling=scheduling, private=private)
    return _launch(folder, scheduling=scheduling, lock=lock)


def _launch(
    folder: Path,
    *,
    scheduling: bool,
    lock: IO[str] | None = None,
    private: Path | None = None,
) -> Server:
    port, auth = _free_port(), f"tunesmith:{secrets.token_hex(16)}"
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**own, **SILENT, "PREFECT_HOME": str(folder)}
    environment["PREFECT_SERVER_API_AUTH_STRING"] = auth
    environment["PREFECT__SERVER_FINAL"] = "1"
    if not scheduling:
        environment["PREFECT__SERVER_EPHEMERAL"] = "1"  # which has no scheduler at all
        environment |= {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in LOOPS}
    with (folder / "server.log").open("wb") as words:
        child = subprocess.Popen(
            [sys.executable, "-m", __name__, str(port)],
            env=environment,
            stdin=subprocess.PIPE,  # its end tells the child that the owner is gone
            stdout=words,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the owner, who still has a stop to record
        )
    return Server(f"http://127.0.0.1:{port}/api", auth, folder, child, private, lock)


def settle_environment(folder: Path) -> None:
    """Keep Prefect's client in this process away from the user's files, and quiet."""
    for name, value in {**SILENT, "PREFECT_HOME": str(folder)}.items():
        os.environ.setdefault(name, value)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0, trust_env=False).status_code in (200, 401)
    except httpx.HTTPError:
        return False


@contextmanager
def connected(server: Server) -> Iterator[None]:
    """Make Prefect's client in this process talk to ``server`` and keep its files in the home."""
    from prefect import settings as prefect

    wanted = {
        prefect.PREFECT_API_URL: server.url,
        prefect.PREFECT_HOME: server.home,
        prefect.PREFECT_SERVER_ANALYTICS_ENABLED: False,
        prefect.PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    if server.auth:
        wanted[prefect.PREFECT_API_AUTH_STRING] = server.auth
    with prefect.temporary_settings(wanted):
        yield


def _end_with_owner() -> None:
    """End this process as soon as its owner is gone, however that happened."""
    if sys.platform == "linux":
        # The pipe alone would miss an owner whose forked worker still holds the other end.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def listen() -> None:
        # Not through sys.stdin: its lock, held here, would abort the interpreter's own ending.
        os.read(0, 1)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()


def _mend_scheduler() -> None:
    """Let Prefect 3.8 schedule runs on SQLAlchemy 2.1.

    Its bulk insert of scheduled runs carries the key ``state``, a hybrid attribute it stores by
    itself afterwards. SQLAlchemy 2.0 ignored the key; 2.1 refuses it, and the scheduler with it.
    """
    from prefect.server.database.orm_models import FlowRun
    from sqlalchemy import inspect

    def leave_it(owner: type, mapping: dict[str, object], value: object) -> None:
        """Change nothing in the row."""

    inspect(FlowRun).all_orm_descriptors["state"].inplace.bulk_dml(leave_it)


def serve(port: int) -> None:
    """Run the server in this process until the owner ends."""
    _end_with_owner()
    _mend_scheduler()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]))
