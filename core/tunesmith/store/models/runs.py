"""Tables of runs, their stages, and what they logged."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.store.columns import Base, Line, now, one_of

RUN_STATUSES = ("RUNNING", "WAITING", "COMPLETED", "FAILED", "STOPPED", "CRASHED")
ATTEMPT_STATUSES = (*RUN_STATUSES, "CACHED")


class HeldByProcess:
    """Columns that say which process is at work; see ``tunesmith.store.process``."""

    host: Mapped[str | None] = mapped_column(String(64))
    machine: Mapped[str | None] = mapped_column(String(80))
    pid: Mapped[int | None]
    process_started: Mapped[str | None] = mapped_column(String(32))


class Run(HeldByProcess, Base):
    """One passage through the lifecycle."""

    __tablename__ = "run"
    __table_args__ = (UniqueConstraint("name", "number"), one_of("status", RUN_STATUSES))

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    number: Mapped[int]
    status: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str | None] = mapped_column(Line)
    config: Mapped[dict[str, Any]]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class StageAttempt(HeldByProcess, Base):
    """One try of one stage by one run; two live tries of one key cannot exist."""

    __tablename__ = "stage_attempt"
    __table_args__ = (
        one_of("status", ATTEMPT_STATUSES),
        Index(
            "uq_stage_attempt_running",
            "key",
            unique=True,
            sqlite_where=text("status = 'RUNNING'"),
            postgresql_where=text("status = 'RUNNING'"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), index=True)
    stage: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(64), index=True)
    status: Mapped[str] = mapped_column(String(16))
    artifact_id: Mapped[str | None] = mapped_column(ForeignKey("artifact.id"), index=True)
    reason: Mapped[str | None] = mapped_column(Line)
    timings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    started_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class StageEntry(Base):
    """The ledger: what a stage key leads to. One key, one artifact."""

    __tablename__ = "stage_entry"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    stage: Mapped[str] = mapped_column(String(64))
    artifact_id: Mapped[str] = mapped_column(ForeignKey("artifact.id"), index=True)
    attempt_id: Mapped[int] = mapped_column(ForeignKey("stage_attempt.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)


class CurvePoint(Base):
    """One number of one curve; ``value`` is NULL where it was not a number (NaN)."""

    __tablename__ = "curve_point"

    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float | None]


class Sample(Base):
    """What a model answered to one prompt, at one moment (``variant``: before, after, ...)."""

    __tablename__ = "sample"
    __table_args__ = (UniqueConstraint("run_id", "stage", "variant", "item"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"))
    stage: Mapped[str] = mapped_column(String(64))
    variant: Mapped[str] = mapped_column(String(64))
    item: Mapped[str] = mapped_column(String(200))
    content: Mapped[dict[str, Any]]
