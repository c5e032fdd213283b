"""Tables of what people (and judges) said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.records import Pair
from tunesmith.store.columns import Base, Line, now, one_of

VERDICTS = ("first", "second", "tie", "both_bad", "skip")


class Annotator(Base):
    """Somebody (or something) that labels; labels of the excluded do not count."""

    __tablename__ = "annotator"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    excluded: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str | None] = mapped_column(Line)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Campaign(Base):
    """A set of pairs to be labelled, and what must be reached."""

    __tablename__ = "campaign"
    __table_args__ = (one_of("status", ("OPEN", "CLOSED")),)

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("run.id"), index=True)
    status: Mapped[str] = mapped_column(String(16), default="OPEN")
    source: Mapped[str] = mapped_column(String(64))
    overlap: Mapped[int]
    quorum: Mapped[float]
    agreement: Mapped[float | None]
    seed: Mapped[int] = mapped_column(BigInteger)
    lease_s: Mapped[float]
    guidelines: Mapped[str] = mapped_column(Line, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    deadline_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]


class PairItem(Base):
    """One pair of one campaign; ``content`` holds prompt, first, second and reference."""

    __tablename__ = "pair_item"
    __table_args__ = (
        UniqueConstraint("campaign_id", "pair_id"),
        UniqueConstraint("campaign_id", "position"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    pair_id: Mapped[str] = mapped_column(String(200), index=True)
    position: Mapped[int]
    task: Mapped[str] = mapped_column(String(64))
    content: Mapped[dict[str, Any]]

    def as_pair(self) -> Pair:
        """Return the pair as the record that techniques know."""
        return Pair(id=self.pair_id, task=self.task, **self.content)


class Assignment(Base):
    """One annotator's turn at one pair: a lease until it is labelled."""

    __tablename__ = "assignment"
    __table_args__ = (
        UniqueConstraint("pair_item_id", "annotator"),
        one_of("shown_first", ("first", "second")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pair_item_id: Mapped[int] = mapped_column(ForeignKey("pair_item.id"))
    annotator: Mapped[str] = mapped_column(ForeignKey("annotator.name"), index=True)
    shown_first: Mapped[str] = mapped_column(String(8))
    leased_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    draft: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Preference(Base):
    """The label of one assignment, written once."""

    __tablename__ = "preference"
    __table_args__ = (UniqueConstraint("assignment_id"), one_of("verdict", VERDICTS))

    id: Mapped[int] = mapped_column(primary_key=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignment.id"))
    verdict: Mapped[str] = mapped_column(String(16))
    strength: Mapped[float | None]
    source: Mapped[str] = mapped_column(String(64))
    seconds: Mapped[float | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)
