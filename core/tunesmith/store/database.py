"""Engines for SQLite and PostgreSQL, and the store that hands out sessions."""

from __future__ import annotations

import json
import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tunesmith import settings
from tunesmith.errors import StoreError
from tunesmith.store.artifacts import Artifact, ArtifactStore
from tunesmith.store.failures import explained

BUSY_TIMEOUT_S = 10.0


class Store:
    """The database with its artifacts; safe to share between threads, and across a fork.

    On both databases a ``write()`` sees and leaves a consistent state. SQLite has one writer at a
    time; on PostgreSQL, ``lock`` keeps apart those writers that would get in each other's way.
    """

    def __init__(self, url: URL, artifacts: Path) -> None:
        self.url = url
        self.place = url.render_as_string(hide_password=True)
        self._reader = make_engine(url, writes=False)
        self._writer = make_engine(url, writes=True) if self.is_sqlite else self._reader
        self.artifacts = ArtifactStore(artifacts, index=self._index)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a SQLite file."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session that sees one moment of the database and cannot change it."""
        with explained(self.place, BUSY_TIMEOUT_S), Session(self._reader) as session:
            if not self.is_sqlite:
                session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield session

    session = read

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session that is committed on leaving, or rolled back on an exception.

        Keep it short: on SQLite everybody else who writes waits (10 s at most) until it ends.
        """
        with (
            explained(self.place, BUSY_TIMEOUT_S),
            Session(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            session.connection()
            yield session

    def lock(self, session: Session, name: str) -> None:
        """Wait for everybody else who holds ``name``; released when the session's write ends."""
        if not self.is_sqlite:
            lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
            session.execute(lock, {"name": name})

    def close(self) -> None:
        """Give back all connections."""
        self._reader.dispose()
        self._writer.dispose()

    def _index(self, artifact: Artifact) -> None:
        from tunesmith.store.index import record

        with self.write() as session:
            self.lock(session, "artifacts")
            record(session, artifact, self.artifacts)


def database_url(home: settings.Home) -> URL:
    """Return where the database is: ``TUNESMITH_DATABASE_URL``, else a SQLite file in the home."""
    told = os.environ.get("TUNESMITH_DATABASE_URL")
    if not told:
        # Built, not parsed: a home may have %, ? or # in its name.
        return URL.create("sqlite", database=str(home.path / "tunesmith.db"))
    try:
        url = make_url(told)
    except ArgumentError as error:
        raise StoreError(
            "TUNESMITH_DATABASE_URL is not a database URL. Examples:"
            " sqlite:////path/to/tunesmith.db, postgresql://user:password@host/name."
        ) from error
    return _known(url)


def _known(url: URL) -> URL:
    if url.get_backend_name() == "postgresql":
        return url
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        return url
    raise StoreError(
        f"Tunesmith does not work on {url.render_as_string()!r}."
        " It needs a SQLite file or PostgreSQL: sqlite:////path/to/tunesmith.db,"
        " postgresql://user:password@host/name."
    )


def make_engine(url: URL, *, writes: bool, foreign_keys: bool = True) -> Engine:
    """Return an engine whose transactions behave the same whoever else is at work."""
    if url.get_backend_name() != "sqlite":
        engine = _postgresql(url)
        _forget_after_fork(engine)
        return engine
    # A connection per transaction: opening one is cheap, and none is ever carried across a fork.
    engine = create_engine(
        url, poolclass=NullPool, json_serializer=_json, connect_args={"timeout": BUSY_TIMEOUT_S}
    )
    event.listen(engine, "connect", partial(_on_connect, writes=writes, foreign_keys=foreign_keys))
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
    event.listen(engine, "begin", partial(_on_begin, statement=begin))
    return engine


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url, pool_pre_ping=True, json_serializer=_json, connect_args={"connect_timeout": 10}
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            f"PostgreSQL needs the package {error.name!r}:"
            " install it with `pip install 'tunesmith[postgresql]'`."
        ) from error


def _json(value: Any) -> str:
    """NaN would pass on one database and fail on the other."""
    try:
        return json.dumps(value, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise StoreError(f"This cannot be stored in the database: {error}.") from error


def _forget_after_fork(engine: Engine) -> None:
    known = weakref.ref(engine)

    def forget() -> None:
        engine = known()
        if engine is not None:
            engine.dispose(close=False)

    os.register_at_fork(after_in_child=forget)


def _on_connect(
    connection: sqlite3.Connection, record: object, *, writes: bool, foreign_keys: bool
) -> None:
    # Otherwise the driver begins transactions on its own, deferred, and they fail under contention.
    connection.isolation_level = None
    connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
    connection.execute("PRAGMA synchronous = FULL")
    if not writes:
        connection.execute("PRAGMA query_only = ON")


def _on_begin(connection: Connection, *, statement: str) -> None:
    connection.exec_driver_sql(statement)


def journal_mode(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str:
    """Return ``wal`` where the linked SQLite is free of the WAL-reset bug, else ``delete``.

    SQLite 3.7.0 to 3.51.2 can lose commits when two connections write and checkpoint at the same
    moment (fixed in 3.51.3, 3.50.7 and 3.44.6; https://sqlite.org/wal.html).
    """
    fixed = (
        version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    )
    return "wal" if fixed else "delete"


def settle_journal(url: URL) -> None:
    """Bring a SQLite file into the journal mode that is safe with the linked SQLite."""
    wanted = journal_mode()
    connection = make_engine(url, writes=True).raw_connection()
    try:
        if connection.cursor().execute("PRAGMA journal_mode").fetchone()[0] != wanted:
            connection.cursor().execute(f"PRAGMA journal_mode = {wanted}")
    finally:
        connection.close()
