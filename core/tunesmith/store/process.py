"""Who is doing something: a process that can later be told from another with the same id."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, told apart from every other one that had or will have its id.

    ``machine`` is the boot id with the pid namespace: process ids mean nothing outside of it.
    """

    host: str
    machine: str
    pid: int
    started: str

    def is_dead(self) -> bool:
        """Return True only when this process is certainly gone.

        One on another host, or in another container on this host, may well be alive.
        """
        here = current()
        if self.machine == here.machine:
            return _started(self.pid) != self.started
        rebooted = self.machine.partition("/")[0] != here.machine.partition("/")[0]
        return self.host == here.host and rebooted

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def current() -> ProcessIdentity:
    """Return the identity of this process (a forked child gets its own)."""
    return _identity(os.getpid())


@lru_cache(maxsize=4)
def _identity(pid: int) -> ProcessIdentity:
    return ProcessIdentity(socket.gethostname()[:64], _machine(), pid, _started(pid) or "unknown")


def _machine() -> str:
    boot = _PROC / "sys/kernel/random/boot_id"
    if not boot.is_file():
        return f"{int(psutil.boot_time())}/"
    namespace = _PROC / "self/ns/pid"
    number = namespace.stat().st_ino if namespace.exists() else ""
    return f"{boot.read_text().strip()}/{number}"


def _started(pid: int) -> str | None:
    """Return when a process began, or None when there is none (a zombie counts as none)."""
    if not (_PROC / "self/stat").is_file():
        return _portable_start(pid)
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may hold spaces and brackets; the fields after its last bracket do not.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def _portable_start(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return None if gone else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
