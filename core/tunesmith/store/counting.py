"""Counting labels: which of them count, and how far a campaign has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session

from tunesmith.errors import StoreError, did_you_mean
from tunesmith.store.columns import now
from tunesmith.store.database import Store
from tunesmith.store.models import Annotator, Assignment, Campaign, PairItem, Preference

COUNTS = and_(Preference.verdict != "skip", Annotator.excluded.is_(False))
"""Which labels count towards the overlap: no skips, none by somebody excluded."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign has come. ``complete`` pairs have ``overlap`` labels."""

    pairs: int
    overlap: int
    labels: int
    skips: int
    complete: int
    needed: int
    by_annotator: dict[str, int]
    deadline_at: datetime | None
    overdue: bool

    @property
    def share(self) -> float:
        """The share of pairs that are complete, 0..1."""
        return self.complete / self.pairs if self.pairs else 1.0

    @property
    def done(self) -> bool:
        """Whether the quorum is reached."""
        return self.complete >= self.needed


def progress(store: Store, campaign_id: str) -> Progress:
    """Count what has been labelled and what is still needed."""
    with store.read() as session:
        return progress_of(session, find(session, campaign_id))


def progress_of(session: Session, campaign: Campaign) -> Progress:
    """Count within a session that is already open."""
    counted = func.count().filter(COUNTS)
    by_item = session.execute(
        labelled(campaign.id, PairItem.id, counted).group_by(PairItem.id)
    ).all()
    by_name = session.execute(
        labelled(campaign.id, Assignment.annotator, counted).group_by(Assignment.annotator)
    ).all()
    skips = labelled(campaign.id, func.count()).where(Preference.verdict == "skip")
    total = select(func.count()).where(PairItem.campaign_id == campaign.id)
    pairs = session.scalar(total) or 0
    return Progress(
        pairs=pairs,
        overlap=campaign.overlap,
        labels=sum(count for _, count in by_item),
        skips=session.scalar(skips) or 0,
        complete=sum(count >= campaign.overlap for _, count in by_item),
        needed=_share_of(pairs, campaign.quorum),
        by_annotator=dict(sorted((name, count) for name, count in by_name)),
        deadline_at=campaign.deadline_at,
        overdue=campaign.deadline_at is not None and now() > campaign.deadline_at,
    )


def _share_of(pairs: int, quorum: float) -> int:
    # Rounded before: 0.1 * 30 is a little more than 3, and would ask for 4.
    return -int(-round(pairs * quorum, 6) // 1)


def find(session: Session, campaign_id: str) -> Campaign:
    """Return a campaign; raise StoreError with the nearest id when there is none."""
    campaign = session.get(Campaign, campaign_id)
    if campaign is None:
        known = session.scalars(select(Campaign.id))
        raise StoreError(f"No campaign {campaign_id!r}.{did_you_mean(campaign_id, known)}")
    return campaign


def labelled(campaign_id: str, *columns: Any) -> Select[Any]:
    """Select from a campaign's labels with their turns, pairs and annotators."""
    return (
        select(*columns)
        .select_from(PairItem)
        .join(Assignment, Assignment.pair_item_id == PairItem.id)
        .join(Preference, Preference.assignment_id == Assignment.id)
        .join(Annotator, Annotator.name == Assignment.annotator)
        .where(PairItem.campaign_id == campaign_id)
    )
