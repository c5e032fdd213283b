"""Opening the store: a new database, an old one, one from the future, and broken ones."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from databases import NOBODY, all_succeed, spawn
from sqlalchemy import text

from tunesmith import store as stores
from tunesmith.errors import StoreError
from tunesmith.store import Store, database, queries, runs, schema


def set_revision(home: Path, revision: str) -> None:
    store = stores.open(home)
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    store.close()


def test_a_new_database_gets_its_tables(empty_home: Path):
    store = stores.open(empty_home)
    assert queries.runs(store) == []
    assert runs.create(store, "a", {}) == "a-0001"
    assert [one.id for one in queries.runs(stores.open(empty_home))] == ["a-0001"]


def _open(home: Path) -> None:
    assert queries.models(stores.open(home)) == []


def test_four_processes_may_open_a_new_database_at_once(empty_home: Path):
    all_succeed([spawn(_open, empty_home) for _ in range(4)])


def test_a_newer_database_asks_for_a_newer_package(empty_home: Path):
    set_revision(empty_home, "9999")
    for ask in (stores.open, stores.upgrade):
        with pytest.raises(StoreError, match=r"made by a newer Tunesmith \(revision 9999.*pip"):
            ask(empty_home)


def test_an_older_database_asks_for_the_upgrade(empty_home: Path, monkeypatch: pytest.MonkeyPatch):
    stores.open(empty_home).close()
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9999"))
    with pytest.raises(StoreError, match=r"older Tunesmith.*tunesmith db upgrade"):
        stores.open(empty_home)


def test_somebody_elses_database_is_left_alone(empty_home: Path):
    engine = database.make_engine(
        database.database_url(schema.settle_home(empty_home)), writes=True
    )
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE customers (id INTEGER)"))
    engine.dispose()
    for ask in (stores.open, stores.upgrade):
        with pytest.raises(StoreError, match=r"not Tunesmith's \(customers\)"):
            ask(empty_home)


def test_reading_cannot_write(store: Store):
    with pytest.raises(StoreError, match="read-only"), store.read() as session:
        session.execute(text("DELETE FROM run"))


def test_an_exception_undoes_a_write(store: Store):
    with pytest.raises(KeyError), store.write() as session:
        session.execute(text("INSERT INTO registered_model VALUES ('m', '2026-01-01 00:00:00')"))
        raise KeyError
    assert queries.models(store) == []


def test_keys_that_point_nowhere_are_refused(store: Store):
    from sqlalchemy.exc import IntegrityError

    with pytest.raises(IntegrityError), store.write() as session:
        session.execute(text("INSERT INTO alias (model, name, rev) VALUES ('m', 'a', 1)"))


def test_the_sqlite_file_is_opened_the_safe_way(sqlite_home: Path):
    store = stores.open(sqlite_home)
    with store.write() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("foreign_keys", "busy_timeout", "synchronous", "journal_mode")
        }
    assert pragmas == {
        "foreign_keys": 1,
        "busy_timeout": 10_000,
        "synchronous": 2,
        "journal_mode": database.journal_mode(),
    }


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "delete"),
        ((3, 44, 6), "wal"),
        ((3, 45, 0), "delete"),
        ((3, 50, 6), "delete"),
        ((3, 50, 7), "wal"),
        ((3, 51, 2), "delete"),
        ((3, 51, 3), "wal"),
        ((3, 53, 0), "wal"),
    ],
)
def test_wal_is_used_only_where_it_loses_nothing(version: tuple[int, ...], mode: str):
    assert database.journal_mode(version) == mode


def test_a_file_left_in_the_unsafe_journal_mode_is_brought_back(sqlite_home: Path):
    stores.open(sqlite_home).close()
    with sqlite3.connect(sqlite_home / "tunesmith.db") as connection:
        connection.execute("PRAGMA journal_mode = wal")
    connection.close()
    stores.open(sqlite_home)
    with sqlite3.connect(sqlite_home / "tunesmith.db") as connection:
        found = connection.execute("PRAGMA journal_mode").fetchone()[0]
    assert found == database.journal_mode()


@pytest.mark.parametrize("name", ["a b", "50%20", "q?mode=ro", "h#1", "ü"])
def test_a_home_may_have_any_name(tmp_path: Path, sqlite_home: Path, name: str):
    stores.open(tmp_path / name).close()
    assert (tmp_path / name / "tunesmith.db").is_file()


def test_a_locked_database_is_said_so(sqlite_home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.3)
    store = stores.open(sqlite_home)
    outsider = sqlite3.connect(sqlite_home / "tunesmith.db", isolation_level=None)
    outsider.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="is locked by another process"):
        runs.create(store, "a", {})
    with pytest.raises(StoreError, match="is locked by another process"):
        stores.open(sqlite_home)
    outsider.execute("ROLLBACK")
    outsider.close()
    assert runs.create(store, "a", {}) == "a-0001"


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database_is_said_so(sqlite_home: Path, content: bytes):
    sqlite_home.mkdir()
    (sqlite_home / "tunesmith.db").write_bytes(content)
    with pytest.raises(StoreError, match=r"is not a SQLite database|is damaged"):
        stores.open(sqlite_home)


def _fill_the_disk(home: Path) -> None:
    store = stores.open(home)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    with pytest.raises(StoreError, match=r"its disk is full|by the disk"):
        for _ in range(100):
            runs.create(store, "big", {"text": "x" * 20_000})


def test_a_full_disk_is_said_so_and_loses_no_run(sqlite_home: Path):
    stores.open(sqlite_home).close()
    all_succeed([spawn(_fill_the_disk, sqlite_home)])
    store = stores.open(sqlite_home)
    kept = queries.runs(store)
    assert kept and all(len(queries.run(store, one.id).config["text"]) == 20_000 for one in kept)


def _use_as_nobody(home: Path) -> None:
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    with pytest.raises(StoreError, match="Set TUNESMITH_HOME to a folder you may write to"):
        stores.open(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_read_only_home_is_said_so(tmp_path_factory: pytest.TempPathFactory, sqlite_home: Path):
    stores.open(sqlite_home).close()
    for folder in (sqlite_home, *sqlite_home.parents[:3]):
        folder.chmod(0o755)
    all_succeed([spawn(_use_as_nobody, sqlite_home)])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "not a database URL"),
        ("mysql://u:secret@host/db", "does not work on 'mysql://u:\\*\\*\\*@host/db'"),
        ("sqlite://", "needs a SQLite file or PostgreSQL"),
        ("postgresql://u:secret@127.0.0.1:1/db", "cannot be reached"),
    ],
)
def test_a_url_that_leads_nowhere_is_said_so_without_its_password(
    sqlite_home: Path, monkeypatch: pytest.MonkeyPatch, url: str, said: str
):
    monkeypatch.setenv("TUNESMITH_DATABASE_URL", url)
    with pytest.raises(StoreError, match=said) as refused:
        stores.open(sqlite_home)
    assert "secret" not in str(refused.value)


def test_opening_takes_less_than_150_ms(sqlite_home: Path):
    stores.open(sqlite_home).close()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        stores.open(sqlite_home).close()
        times.append(time.perf_counter() - began)
    assert min(times) < 0.15


def test_neither_import_nor_opening_loads_alembic_or_torch(sqlite_home: Path):
    stores.open(sqlite_home).close()
    script = (
        "import sys; from tunesmith import store; from tunesmith.store import queries\n"
        "queries.runs(store.open())\n"
        "heavy = {'alembic', 'torch', 'transformers', 'prefect', 'streamlit', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
