"""The schema's revision: checked on every opening, raised by ``tunesmith db upgrade``."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Engine, inspect, text

from tunesmith import settings
from tunesmith.errors import StoreError
from tunesmith.store.columns import now
from tunesmith.store.database import (
    BUSY_TIMEOUT_S,
    Store,
    database_url,
    make_engine,
    settle_journal,
)
from tunesmith.store.failures import disk_reason, explained

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002")
"""Every revision this version knows, oldest first. Kept here so that opening imports no alembic."""

UPGRADE_LOCK = "tunesmith schema"


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did; ``copy`` is where the SQLite file was copied to before, if it was."""

    before: str | None
    after: str
    copy: Path | None


def open_store(home: settings.Home | Path | str | None = None) -> Store:
    """Open the database and artifacts of a home folder; a new database gets its tables.

    Raises StoreError when the database is older or newer than this version of Tunesmith, is not
    ours, or cannot be used; the message says what to do.
    """
    place = settle_home(home)
    url = database_url(place)
    store = Store(url, place.artifacts)
    with explained(store.place, BUSY_TIMEOUT_S):
        if store.is_sqlite:
            settle_journal(url)
        with store.read() as session:
            found = stored_revision(session.connection())
    if found is None:
        upgrade(place)
    else:
        refuse_other_revision(found, store.place)
    return store


def settle_home(home: settings.Home | Path | str | None) -> settings.Home:
    """Return the home folder, ready for use."""
    if home is None:
        return settings.home().prepare()
    if isinstance(home, settings.Home):
        return home.prepare()
    return settings.Home(Path(home).absolute()).prepare()


def stored_revision(connection: Connection) -> str | None:
    """Return the database's revision, or None when it holds nothing at all."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise StoreError(
            f"The database {connection.engine.url.render_as_string()} holds tables that are not"
            f" Tunesmith's ({', '.join(sorted(tables)[:3])}). Point TUNESMITH_DATABASE_URL at a"
            " database of its own."
        )
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def refuse_other_revision(found: str, place: str) -> None:
    """Raise StoreError unless the database is at this version's revision."""
    if found == REVISIONS[-1]:
        return
    if found in REVISIONS:
        raise StoreError(
            f"The database {place} was made by an older Tunesmith (revision {found}, this version"
            f" needs {REVISIONS[-1]}). Run `tunesmith db upgrade`; it copies the database first."
        )
    raise StoreError(
        f"The database {place} was made by a newer Tunesmith (revision {found}, this version knows"
        f" up to {REVISIONS[-1]}). Upgrade the package: `pip install --upgrade tunesmith`."
    )


def upgrade(home: settings.Home | Path | str | None = None) -> Upgraded:
    """Bring the database to this version's revision, in one transaction.

    A SQLite file that already holds data is copied first. Killed half-way, nothing has changed.
    """
    place = settle_home(home)
    url = database_url(place)
    engine = make_engine(url, writes=True, foreign_keys=False)
    with explained(url.render_as_string(), BUSY_TIMEOUT_S):
        before, copy = _copied_before(engine)
        if before != REVISIONS[-1]:
            run_migrations(engine, REVISIONS[-1])
    engine.dispose()
    return Upgraded(before, REVISIONS[-1], copy)


def _copied_before(engine: Engine) -> tuple[str | None, Path | None]:
    with engine.connect() as connection:
        before = stored_revision(connection)
    if before is None or before == REVISIONS[-1]:
        return before, None
    if before not in REVISIONS:
        refuse_other_revision(before, engine.url.render_as_string())
    return before, back_up(engine.url, before) if engine.dialect.name == "sqlite" else None


def back_up(url: URL, revision: str) -> Path:
    """Copy a SQLite database, consistently even while others write; return where to."""
    source = Path(str(url.database))
    copy = source.with_name(f"{source.name}.{revision}-{now():%Y%m%dT%H%M%S%f}.copy")
    try:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(copy)) as new:
            old.backup(new)
    except (OSError, sqlite3.Error) as error:
        copy.unlink(missing_ok=True)
        reason = disk_reason(error, source.parent) or f"{error}."
        raise StoreError(f"Nothing was changed: copying {source} first failed. {reason}") from error
    return copy


def run_migrations(engine: Engine, target: str) -> None:
    """Move a database up or down to ``target`` in one transaction; two at once take turns."""
    from alembic import command

    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
            connection.execute(lock, {"name": UPGRADE_LOCK})
        config = alembic_config(connection)
        down = target == "base" or (stored_revision(connection) or "") > target
        (command.downgrade if down else command.upgrade)(config, target)
        _check_foreign_keys(connection)


def _check_foreign_keys(connection: Connection) -> None:
    """Enforcement is off while SQLite's tables are rebuilt, so look before committing."""
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        tables = ", ".join(sorted({str(row[0]) for row in broken}))
        raise StoreError(
            f"The upgrade was undone: rows of {tables} would point nowhere."
            " Please report this; the database is as it was."
        )


def alembic_config(connection: Connection) -> Config:
    """Return alembic's configuration for one connection; there is no ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrations_dir() -> Path:
    """Return the checkout's migrations if there is one, else the copy shipped in the wheel."""
    checkout = Path(__file__).parents[3] / "migrations"
    if (checkout / "env.py").is_file():
        return checkout
    return Path(__file__).parents[1] / "_migrations"
