"""Saved prompts: versions, aliases and their history."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_TABLES = ("saved_prompt", "prompt_version", "prompt_alias", "prompt_alias_event")


def upgrade() -> None:
    op.create_table(
        "saved_prompt",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _key("saved_prompt", "name"),
    )
    _versions()
    _aliases()


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"pk_{table}")


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=f"uq_{table}_{'_'.join(columns)}")


def _points(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}")


def _versions() -> None:
    op.create_table(
        "prompt_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _points("prompt_version", "prompt", "saved_prompt.name"),
        _key("prompt_version", "id"),
        _unique("prompt_version", "prompt", "version"),
    )


def _aliases() -> None:
    op.create_table(
        "prompt_alias",
        sa.Column("prompt", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("version_id", sa.Integer()),
        sa.Column("rev", sa.Integer(), nullable=False),
        _points("prompt_alias", "prompt", "saved_prompt.name"),
        _points("prompt_alias", "version_id", "prompt_version.id"),
        _key("prompt_alias", "prompt", "name"),
    )
    op.create_index("ix_prompt_alias_version_id", "prompt_alias", ["version_id"])
    op.create_table(
        "prompt_alias_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.String(64), nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("from_version", sa.Integer()),
        sa.Column("to_version", sa.Integer()),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _points("prompt_alias_event", "prompt", "saved_prompt.name"),
        _key("prompt_alias_event", "id"),
        _unique("prompt_alias_event", "prompt", "alias", "rev"),
    )
