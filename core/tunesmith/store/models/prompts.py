"""Tables of saved prompts: versions that never change, and aliases that move between them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.store.columns import Base, Line, now


class SavedPrompt(Base):
    """A name under which versions of a prompt are saved."""

    __tablename__ = "saved_prompt"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class PromptVersion(Base):
    """One version; ``digest`` is the sha256 of its content, so that a change cannot go unseen."""

    __tablename__ = "prompt_version"
    __table_args__ = (UniqueConstraint("prompt", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    prompt: Mapped[str] = mapped_column(ForeignKey("saved_prompt.name"))
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    content: Mapped[dict[str, Any]]
    author: Mapped[str] = mapped_column(String(200))
    notes: Mapped[str] = mapped_column(Line, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)


class PromptAlias(Base):
    """A name that points at one version (or none any more); ``rev`` grows with every move."""

    __tablename__ = "prompt_alias"

    prompt: Mapped[str] = mapped_column(ForeignKey("saved_prompt.name"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version_id: Mapped[int | None] = mapped_column(ForeignKey("prompt_version.id"), index=True)
    rev: Mapped[int]


class PromptAliasEvent(Base):
    """The history of an alias; written in the same transaction as the move."""

    __tablename__ = "prompt_alias_event"
    __table_args__ = (UniqueConstraint("prompt", "alias", "rev"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    prompt: Mapped[str] = mapped_column(ForeignKey("saved_prompt.name"))
    alias: Mapped[str] = mapped_column(String(64))
    rev: Mapped[int]
    from_version: Mapped[int | None]
    to_version: Mapped[int | None]
    actor: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Line, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
