"""The migrations: they lead to what the models say, undo themselves, and survive a kill."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from databases import spawn
from sqlalchemy import Engine, inspect, text

from tunesmith import store as stores
from tunesmith.errors import StoreError
from tunesmith.store import database, queries, runs, schema
from tunesmith.store.columns import Base

ROOT = Path(__file__).parents[1]


def engine_of(home: Path) -> Engine:
    url = database.database_url(schema.settle_home(home))
    return database.make_engine(url, writes=True, foreign_keys=False)


def tables(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(inspect(connection).get_table_names())


def test_the_revisions_in_the_code_are_those_of_the_migrations(empty_home: Path):
    with engine_of(empty_home).connect() as connection:
        script = ScriptDirectory.from_config(schema.alembic_config(connection))
    known = [one.revision for one in script.walk_revisions()]
    assert tuple(reversed(known)) == schema.REVISIONS
    assert script.get_heads() == [schema.REVISIONS[-1]]
    assert [path.name[:4] for path in sorted((ROOT / "migrations/versions").glob("*.py"))] == list(
        schema.REVISIONS
    )


def test_the_migrations_lead_to_what_the_models_say(empty_home: Path):
    stores.open(empty_home).close()
    with engine_of(empty_home).connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_constraints_carry_the_names_of_the_convention(empty_home: Path):
    stores.open(empty_home).close()
    with engine_of(empty_home).connect() as connection:
        inspector = inspect(connection)
        for table in Base.metadata.sorted_tables:
            found = inspector.get_foreign_keys(table.name) + inspector.get_unique_constraints(
                table.name
            )
            found += inspector.get_check_constraints(table.name)
            names = {one["name"] for one in found}
            wanted = {one.name for one in table.constraints} - {table.primary_key.name}
            assert names == wanted, table.name


def test_down_and_up_again(empty_home: Path):
    stores.open(empty_home).close()
    engine = engine_of(empty_home)
    schema.run_migrations(engine, "base")
    assert tables(engine) == {"alembic_version"}
    schema.run_migrations(engine, "head")
    assert tables(engine) == {"alembic_version", *Base.metadata.tables}
    engine.dispose()
    assert queries.runs(stores.open(empty_home)) == []


def test_upgrading_twice_changes_nothing(empty_home: Path):
    assert stores.upgrade(empty_home) == stores.Upgraded(None, schema.REVISIONS[-1], None)
    runs.create(stores.open(empty_home), "a", {})
    again = stores.upgrade(empty_home)
    assert again == stores.Upgraded(schema.REVISIONS[-1], schema.REVISIONS[-1], None)
    assert len(queries.runs(stores.open(empty_home))) == 1


def _upgrade_slowly(home: Path) -> None:
    """Hang after some tables have been made, as if the machine had stalled there."""
    from alembic.operations import Operations

    create = Operations.create_table

    def slow(*arguments: object, **options: object) -> object:
        made = create(*arguments, **options)
        if arguments[1] == "preference":
            (home / "half-way").touch()
            time.sleep(60)
        return made

    Operations.create_table = slow
    stores.upgrade(home)


def test_killed_half_way_nothing_has_changed_and_it_can_be_done_again(empty_home: Path):
    import alembic.op  # noqa: F401  so that the child's change is to the class behind it

    child = spawn(_upgrade_slowly, empty_home)
    while not (empty_home / "half-way").exists() and child.is_alive():
        time.sleep(0.01)
    child.kill()
    child.join()
    assert child.exitcode == -9
    engine = engine_of(empty_home)
    assert tables(engine) == set()
    engine.dispose()
    assert queries.runs(stores.open(empty_home)) == []


SECOND = '''
"""Rebuilds a table, as SQLite must for most changes."""
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{before}"

def upgrade():
    with op.batch_alter_table("run") as batch:
        batch.add_column(sa.Column("owner", sa.String(64), nullable=False, server_default="ann"))
        batch.drop_constraint(op.f("ck_run_status"), type_="check")
    {extra}

def downgrade():
    with op.batch_alter_table("run") as batch:
        batch.drop_column("owner")
'''


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A Tunesmith that is one revision further."""

    def write(extra: str = "pass") -> None:
        folder = tmp_path / "migrations"
        (folder / "versions").mkdir(parents=True)
        for path in (
            *(ROOT / "migrations").glob("*.*"),
            *(ROOT / "migrations").glob("versions/*.py"),
        ):
            (folder / path.relative_to(ROOT / "migrations")).write_text(path.read_text())
        known = schema.REVISIONS
        text = SECOND.format(extra=extra, before=known[-1])
        (folder / "versions" / "9999_next.py").write_text(text)
        monkeypatch.setattr(schema, "migrations_dir", lambda: folder)
        monkeypatch.setattr(schema, "REVISIONS", (*known, "9999"))

    return write


def test_a_database_of_every_older_version_keeps_its_rows(empty_home: Path):
    for revision in schema.REVISIONS[:-1]:
        store = stores.open(empty_home)
        runs.create(store, "a", {})
        store.close()
        engine = engine_of(empty_home)
        schema.run_migrations(engine, revision)
        engine.dispose()
        with pytest.raises(StoreError, match="tunesmith db upgrade"):
            stores.open(empty_home)
        assert stores.upgrade(empty_home).before == revision
        assert queries.runs(stores.open(empty_home))


def test_an_older_database_with_data_is_copied_and_upgraded(empty_home: Path, next_version):
    store = stores.open(empty_home)
    run_id = runs.create(store, "a", {"seed": 7})
    runs.log_points(store, run_id, "tune", [{"step": 1, "loss": 2.0}])
    store.close()
    next_version()
    done = stores.upgrade(empty_home)
    assert (done.before, done.after) == schema.REVISIONS[-2:]
    store = stores.open(empty_home)
    assert queries.run(store, run_id).config == {"seed": 7}
    assert queries.curves(store, run_id, "tune") == {"loss": [(1, 2.0)]}
    with store.read() as session:
        assert session.scalar(text("SELECT owner FROM run")) == "ann"
    if not store.is_sqlite:
        assert done.copy is None
        return
    with sqlite3.connect(done.copy) as copied:
        assert copied.execute("SELECT version_num FROM alembic_version").fetchall() == [
            (done.before,)
        ]
        assert copied.execute("SELECT id FROM run").fetchall() == [(run_id,)]
    copied.close()


def test_an_upgrade_that_would_break_a_reference_is_undone(sqlite_home: Path, next_version):
    store = stores.open(sqlite_home)
    runs.log_points(store, runs.create(store, "a", {}), "tune", [{"step": 1, "loss": 2.0}])
    next_version(extra='op.execute("DELETE FROM run")')
    with pytest.raises(StoreError, match="rows of curve_point would point nowhere"):
        stores.upgrade(sqlite_home)
    with pytest.raises(StoreError, match="tunesmith db upgrade"):
        stores.open(sqlite_home)
    assert len(queries.runs(store)) == 1


def test_an_upgrade_that_fails_changes_nothing(empty_home: Path, next_version):
    store = stores.open(empty_home)
    runs.create(store, "a", {})
    next_version(extra='raise RuntimeError("defect")')
    with pytest.raises(RuntimeError, match="defect"):
        stores.upgrade(empty_home)
    assert len(queries.runs(store)) == 1
    with engine_of(empty_home).connect() as connection:
        assert schema.stored_revision(connection) == schema.REVISIONS[-2]


def test_migrations_do_not_import_the_models():
    for path in (ROOT / "migrations" / "versions").glob("*.py"):
        assert "tunesmith" not in path.read_text(), path.name


def test_an_installed_package_brings_its_migrations(sqlite_home: Path, tmp_path: Path):
    """Lay the files out as the wheel does (see force-include), with no checkout around them."""
    site = tmp_path / "site"
    for source, target in (
        ("core/tunesmith", "tunesmith"),
        ("migrations", "tunesmith/_migrations"),
    ):
        for path in (ROOT / source).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                copy = site / target / path.relative_to(ROOT / source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    script = (
        "from tunesmith import store; from tunesmith.store import schema\n"
        "store.open(); print(schema.migrations_dir())"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == str(site / "tunesmith" / "_migrations"), done.stderr
    assert (sqlite_home / "tunesmith.db").is_file()
