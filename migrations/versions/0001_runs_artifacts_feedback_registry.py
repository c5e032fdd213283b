"""Runs, artifacts, feedback and the registry: the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_RUNNING = sa.text("status = 'RUNNING'")
_STATUSES = "'RUNNING', 'WAITING', 'COMPLETED', 'FAILED', 'STOPPED', 'CRASHED'"
_TABLES = (
    "artifact",
    "artifact_input",
    "run",
    "stage_attempt",
    "stage_entry",
    "curve_point",
    "sample",
    "annotator",
    "campaign",
    "pair_item",
    "assignment",
    "preference",
    "registered_model",
    "model_version",
    "alias",
    "alias_event",
)


def upgrade() -> None:
    _results()
    _runs()
    _feedback()
    _registry()


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"pk_{table}")


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=f"uq_{table}_{'_'.join(columns)}")


def _points(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}")


def _results() -> None:
    op.create_table(
        "artifact",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("committed_at", _TIME, nullable=False),
        sa.Column("deleted_at", _TIME),
        _key("artifact", "id"),
    )
    op.create_index("ix_artifact_kind", "artifact", ["kind"])
    op.create_table(
        "artifact_input",
        sa.Column("artifact_id", sa.String(64), nullable=False),
        sa.Column("input_id", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        _points("artifact_input", "artifact_id", "artifact.id"),
        _points("artifact_input", "input_id", "artifact.id"),
        _key("artifact_input", "artifact_id", "input_id"),
    )
    op.create_index("ix_artifact_input_input_id", "artifact_input", ["input_id"])


def _runs() -> None:
    op.create_table(
        "run",
        sa.Column("id", sa.String(80), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.Column("host", sa.String(64)),
        sa.Column("machine", sa.String(80)),
        sa.Column("pid", sa.Integer()),
        sa.Column("process_started", sa.String(32)),
        sa.CheckConstraint(f"status IN ({_STATUSES})", name=op.f("ck_run_status")),
        _key("run", "id"),
        _unique("run", "name", "number"),
    )
    op.create_index("ix_run_created_at", "run", ["created_at"])
    op.create_index("ix_run_status", "run", ["status"])
    op.create_table(
        "stage_attempt",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(80), nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("artifact_id", sa.String(64)),
        sa.Column("reason", sa.String()),
        sa.Column("timings", sa.JSON(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.Column("host", sa.String(64)),
        sa.Column("machine", sa.String(80)),
        sa.Column("pid", sa.Integer()),
        sa.Column("process_started", sa.String(32)),
        sa.CheckConstraint(
            f"status IN ({_STATUSES}, 'CACHED')", name=op.f("ck_stage_attempt_status")
        ),
        _points("stage_attempt", "artifact_id", "artifact.id"),
        _points("stage_attempt", "run_id", "run.id"),
        _key("stage_attempt", "id"),
    )
    op.create_index("ix_stage_attempt_artifact_id", "stage_attempt", ["artifact_id"])
    op.create_index("ix_stage_attempt_key", "stage_attempt", ["key"])
    op.create_index("ix_stage_attempt_run_id", "stage_attempt", ["run_id"])
    op.create_index(
        "uq_stage_attempt_running",
        "stage_attempt",
        ["key"],
        unique=True,
        sqlite_where=_RUNNING,
        postgresql_where=_RUNNING,
    )
    op.create_table(
        "stage_entry",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("artifact_id", sa.String(64), nullable=False),
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _points("stage_entry", "artifact_id", "artifact.id"),
        _points("stage_entry", "attempt_id", "stage_attempt.id"),
        _key("stage_entry", "key"),
    )
    op.create_index("ix_stage_entry_artifact_id", "stage_entry", ["artifact_id"])
    op.create_table(
        "curve_point",
        sa.Column("run_id", sa.String(80), nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double()),
        _points("curve_point", "run_id", "run.id"),
        _key("curve_point", "run_id", "stage", "name", "step"),
    )
    op.create_table(
        "sample",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(80), nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("variant", sa.String(64), nullable=False),
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        _points("sample", "run_id", "run.id"),
        _key("sample", "id"),
        _unique("sample", "run_id", "stage", "variant", "item"),
    )


def _feedback() -> None:
    op.create_table(
        "annotator",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("excluded", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("created_at", _TIME, nullable=False),
        _key("annotator", "name"),
    )
    op.create_table(
        "campaign",
        sa.Column("id", sa.String(80), nullable=False),
        sa.Column("run_id", sa.String(80)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("quorum", sa.Double(), nullable=False),
        sa.Column("agreement", sa.Double()),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("lease_s", sa.Double(), nullable=False),
        sa.Column("guidelines", sa.String(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("deadline_at", _TIME),
        sa.Column("closed_at", _TIME),
        sa.CheckConstraint("status IN ('OPEN', 'CLOSED')", name=op.f("ck_campaign_status")),
        _points("campaign", "run_id", "run.id"),
        _key("campaign", "id"),
    )
    op.create_index("ix_campaign_run_id", "campaign", ["run_id"])
    op.create_table(
        "pair_item",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.String(80), nullable=False),
        sa.Column("pair_id", sa.String(200), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        _points("pair_item", "campaign_id", "campaign.id"),
        _key("pair_item", "id"),
        _unique("pair_item", "campaign_id", "pair_id"),
        _unique("pair_item", "campaign_id", "position"),
    )
    op.create_index("ix_pair_item_pair_id", "pair_item", ["pair_id"])
    op.create_table(
        "assignment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pair_item_id", sa.Integer(), nullable=False),
        sa.Column("annotator", sa.String(200), nullable=False),
        sa.Column("shown_first", sa.String(8), nullable=False),
        sa.Column("leased_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("draft", sa.JSON()),
        sa.CheckConstraint(
            "shown_first IN ('first', 'second')", name=op.f("ck_assignment_shown_first")
        ),
        _points("assignment", "annotator", "annotator.name"),
        _points("assignment", "pair_item_id", "pair_item.id"),
        _key("assignment", "id"),
        _unique("assignment", "pair_item_id", "annotator"),
    )
    op.create_index("ix_assignment_annotator", "assignment", ["annotator"])
    op.create_table(
        "preference",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("assignment_id", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("strength", sa.Double()),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("seconds", sa.Double()),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.CheckConstraint(
            "verdict IN ('first', 'second', 'tie', 'both_bad', 'skip')",
            name=op.f("ck_preference_verdict"),
        ),
        _points("preference", "assignment_id", "assignment.id"),
        _key("preference", "id"),
        _unique("preference", "assignment_id"),
    )


def _registry() -> None:
    op.create_table(
        "registered_model",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _key("registered_model", "name"),
    )
    op.create_table(
        "model_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("artifact_id", sa.String(64), nullable=False),
        sa.Column("evidence_id", sa.String(64)),
        sa.Column("run_id", sa.String(80)),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _points("model_version", "artifact_id", "artifact.id"),
        _points("model_version", "evidence_id", "artifact.id"),
        _points("model_version", "model", "registered_model.name"),
        _points("model_version", "run_id", "run.id"),
        _key("model_version", "id"),
        _unique("model_version", "model", "artifact_id", "run_id"),
        _unique("model_version", "model", "version"),
    )
    op.create_index("ix_model_version_artifact_id", "model_version", ["artifact_id"])
    op.create_table(
        "alias",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("version_id", sa.Integer()),
        sa.Column("rev", sa.Integer(), nullable=False),
        _points("alias", "model", "registered_model.name"),
        _points("alias", "version_id", "model_version.id"),
        _key("alias", "model", "name"),
    )
    op.create_index("ix_alias_version_id", "alias", ["version_id"])
    op.create_table(
        "alias_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("from_version", sa.Integer()),
        sa.Column("to_version", sa.Integer()),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _points("alias_event", "model", "registered_model.name"),
        _key("alias_event", "id"),
        _unique("alias_event", "model", "alias", "rev"),
    )
