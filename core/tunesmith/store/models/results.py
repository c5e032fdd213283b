"""Tables of artifacts and their lineage, and of what was released."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.store.columns import Base, Line, now


class Artifact(Base):
    """What is (or was) on disk; the folder with its manifest is the truth."""

    __tablename__ = "artifact"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    manifest: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    committed_at: Mapped[datetime] = mapped_column(default=now)
    deleted_at: Mapped[datetime | None]


class ArtifactInput(Base):
    """An edge of the lineage: ``artifact`` was made from ``input``."""

    __tablename__ = "artifact_input"

    artifact_id: Mapped[str] = mapped_column(ForeignKey("artifact.id"), primary_key=True)
    input_id: Mapped[str] = mapped_column(ForeignKey("artifact.id"), primary_key=True, index=True)
    position: Mapped[int]


class RegisteredModel(Base):
    """A name under which versions are released."""

    __tablename__ = "registered_model"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class ModelVersion(Base):
    """One released artifact with the evidence that carried it there."""

    __tablename__ = "model_version"
    __table_args__ = (
        UniqueConstraint("model", "version"),
        UniqueConstraint("model", "artifact_id", "run_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(ForeignKey("registered_model.name"))
    version: Mapped[int]
    artifact_id: Mapped[str] = mapped_column(ForeignKey("artifact.id"), index=True)
    evidence_id: Mapped[str | None] = mapped_column(ForeignKey("artifact.id"))
    run_id: Mapped[str | None] = mapped_column(ForeignKey("run.id"))
    author: Mapped[str] = mapped_column(String(200))
    notes: Mapped[str] = mapped_column(Line, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)


class Alias(Base):
    """A name that points at one version (or none any more); ``rev`` grows with every move."""

    __tablename__ = "alias"

    model: Mapped[str] = mapped_column(ForeignKey("registered_model.name"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"), index=True)
    rev: Mapped[int]


class AliasEvent(Base):
    """The history of an alias; written in the same transaction as the move."""

    __tablename__ = "alias_event"
    __table_args__ = (UniqueConstraint("model", "alias", "rev"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(ForeignKey("registered_model.name"))
    alias: Mapped[str] = mapped_column(String(64))
    rev: Mapped[int]
    from_version: Mapped[int | None]
    to_version: Mapped[int | None]
    actor: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Line, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
