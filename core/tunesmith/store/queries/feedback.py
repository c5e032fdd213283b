"""Questions about labelling campaigns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from tunesmith.records import Pair
from tunesmith.store.counting import find, progress_of
from tunesmith.store.database import Store
from tunesmith.store.models import (
    Artifact,
    Assignment,
    Campaign,
    ModelVersion,
    PairItem,
    Preference,
    StageAttempt,
)
from tunesmith.store.queries.results import walk
from tunesmith.store.registry import Version, described


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """One campaign in a list; ``complete`` of its ``pairs`` have all their labels."""

    id: str
    run_id: str | None
    status: str
    source: str
    overlap: int
    quorum: float
    agreement: float | None
    created_at: datetime
    deadline_at: datetime | None
    pairs: int
    labels: int
    complete: int


def campaigns(store: Store, *, status: str | None = None) -> list[CampaignRow]:
    """Return the campaigns, newest first."""
    wanted = select(Campaign).order_by(Campaign.created_at.desc(), Campaign.id)
    if status is not None:
        wanted = wanted.where(Campaign.status == status)
    with store.read() as session:
        rows = []
        for one in session.scalars(wanted):
            reached = progress_of(session, one)
            rows.append(
                CampaignRow(
                    one.id,
                    one.run_id,
                    one.status,
                    one.source,
                    one.overlap,
                    one.quorum,
                    one.agreement,
                    one.created_at,
                    one.deadline_at,
                    reached.pairs,
                    reached.labels,
                    reached.complete,
                )
            )
        return rows


def pairs(store: Store, campaign_id: str) -> list[Pair]:
    """Return a campaign's pairs in their order."""
    wanted = select(PairItem).where(PairItem.campaign_id == campaign_id)
    with store.read() as session:
        find(session, campaign_id)
        return [item.as_pair() for item in session.scalars(wanted.order_by(PairItem.position))]


def touched_by(store: Store, annotator: str) -> list[Version]:
    """Return the released versions that an annotator's labels went into, oldest first.

    Followed from the runs whose campaigns they labelled, over the preferences those runs stored,
    to everything that was made from them, in whichever run.
    """
    stored = (
        select(Artifact.id)
        .join(StageAttempt, StageAttempt.artifact_id == Artifact.id)
        .join(Campaign, Campaign.run_id == StageAttempt.run_id)
        .join(PairItem, PairItem.campaign_id == Campaign.id)
        .join(Assignment, Assignment.pair_item_id == PairItem.id)
        .join(Preference, Preference.assignment_id == Assignment.id)
        .where(Assignment.annotator == annotator, Artifact.kind == "preferences")
    )
    with store.read() as session:
        start = list(session.scalars(stored.distinct()))
        made, _ = walk(session, start, up=False)
        wanted = select(ModelVersion).where(ModelVersion.artifact_id.in_([*start, *made]))
        return [
            described(session, row) for row in session.scalars(wanted.order_by(ModelVersion.id))
        ]
