"""The two databases that every test of the store runs on.

PostgreSQL is a private server of the test session: its files, its socket and its log lie in one
temporary folder, and it listens on no network. Without its programs those tests are skipped.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tunesmith import store as stores
from tunesmith.store import Store
from tunesmith.store.columns import Base

NOBODY = 65534


@dataclass
class PostgreSQL:
    """A running server, and the databases it was asked for."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str) -> URL:
        return URL.create(
            "postgresql", username="postgres", database=database, query={"host": str(self.folder)}
        )

    def new_database(self) -> str:
        name = f"test_{next(self.numbers)}"
        self._run("postgres", f"CREATE DATABASE {name}")
        return self.url(name).render_as_string()

    def empty(self, url: str) -> None:
        """Remove all rows: a few times faster than making a database anew."""
        tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
        self._run(str(make_url(url).database), f"TRUNCATE {tables} RESTART IDENTITY CASCADE")

    def _run(self, database: str, statement: str) -> None:
        engine = create_engine(self.url(database), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text(statement))


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    elsewhere = shutil.which("initdb")
    return found[-1].parent if found else Path(elsewhere).parent if elsewhere else None


def _as_somebody() -> list[str]:
    """PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    programs = _programs()
    if programs is None:
        pytest.skip("the PostgreSQL programs (initdb, postgres) are not installed")
    # In memory where that is possible. Not in pytest's folder: a socket's path must be short.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    folder = Path(tempfile.mkdtemp(prefix="pg", dir=memory if roomy else "/tmp"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    log = (folder.parent / f"{folder.name}.log").open("wb")
    init = [programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N"]
    subprocess.run([*_as_somebody(), *init], stdout=log, stderr=log, cwd=folder, check=True)
    serve = [programs / "postgres", "-D", folder / "data", "-k", folder]
    # Durability is the server's to prove; here only clients are killed.
    options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60"]
    server = subprocess.Popen([*_as_somebody(), *serve, *options], stdout=log, stderr=log)
    try:
        _wait_until_up(PostgreSQL(folder))
        yield PostgreSQL(folder)
    finally:
        # At once, without writing everything out: the files are deleted next.
        server.send_signal(signal.SIGQUIT)
        server.wait(timeout=30)
        log.close()
        shutil.rmtree(folder)
        Path(log.name).unlink()


def _wait_until_up(server: PostgreSQL) -> None:
    engine = create_engine(server.url("postgres"))
    for _ in range(300):
        try:
            with engine.connect():
                return engine.dispose()
        except OperationalError:
            time.sleep(0.1)
    raise TimeoutError("PostgreSQL did not start within 30 s")


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose empty database has its tables; copied, because making it takes longer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TUNESMITH_DATABASE_URL", raising=False)
        folder = tmp_path_factory.mktemp("migrated")
        stores.upgrade(folder)
    return folder


@pytest.fixture(scope="session")
def migrated_postgresql(
    postgresql_server: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The URL of a database with tables; tests take turns with it."""
    url = postgresql_server.new_database()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_DATABASE_URL", url)
        stores.upgrade(tmp_path_factory.mktemp("migrated"))
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A home folder with a database that has no tables yet, on either system."""
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TUNESMITH_DATABASE_URL", raising=False)
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql_server")
        monkeypatch.setenv("TUNESMITH_DATABASE_URL", server.new_database())
    return tmp_path / "home"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """An open, empty store on either system."""
    home = tmp_path / "home"
    monkeypatch.setenv("TUNESMITH_HOME", str(home))
    monkeypatch.delenv("TUNESMITH_DATABASE_URL", raising=False)
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql_server")
        url: str = request.getfixturevalue("migrated_postgresql")
        server.empty(url)
        monkeypatch.setenv("TUNESMITH_DATABASE_URL", url)
    else:
        shutil.copytree(request.getfixturevalue("migrated_sqlite"), home)
    opened = stores.open(home)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder whose database is a SQLite file that does not exist yet."""
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TUNESMITH_DATABASE_URL", raising=False)
    return tmp_path / "home"


def spawn(work: Callable[..., object], *arguments: object) -> multiprocessing.Process:
    """Start ``work`` in a forked process."""
    child = multiprocessing.get_context("fork").Process(target=_alone, args=(work, *arguments))
    child.start()
    return child


def _alone(work: Callable[..., object], *arguments: object) -> None:
    """Work and leave at once: exit hooks inherited from the parent (Prefect's) fail in a child."""
    status = 1
    try:
        work(*arguments)
        status = 0
    except BaseException:  # noqa: BLE001  (the exit status tells the parent)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def all_succeed(children: list[multiprocessing.Process], timeout_s: float = 60.0) -> None:
    """Wait for forked processes and require that none of them raised."""
    for child in children:
        child.join(timeout_s)
    assert [child.exitcode for child in children] == [0] * len(children)
