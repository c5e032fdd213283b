"""Leases: for a while, a pair is one annotator's to label."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from tunesmith.store.columns import now
from tunesmith.store.counting import COUNTS
from tunesmith.store.models import Annotator, Assignment, Campaign, PairItem, Preference


def _has_label() -> ColumnElement[bool]:
    return select(Preference.id).where(Preference.assignment_id == Assignment.id).exists()


def open_item(session: Session, campaign: Campaign, annotator: str) -> PairItem | None:
    """Return the pair the annotator has on lease now, if any."""
    mine = (
        select(PairItem)
        .join(Assignment, Assignment.pair_item_id == PairItem.id)
        .where(PairItem.campaign_id == campaign.id, Assignment.annotator == annotator)
        .where(Assignment.expires_at > now(), ~_has_label())
    )
    return session.scalar(mine.order_by(Assignment.leased_at.desc(), Assignment.id).limit(1))


def next_item(session: Session, campaign: Campaign, annotator: str) -> PairItem | None:
    """Return the first pair that needs a label and has none of this annotator's."""
    labelled_by_me = select(Assignment.id).where(
        Assignment.pair_item_id == PairItem.id, Assignment.annotator == annotator, _has_label()
    )
    wanted = select(PairItem).where(
        PairItem.campaign_id == campaign.id,
        ~labelled_by_me.exists(),
        _taken(annotator) < campaign.overlap,
    )
    return session.scalar(wanted.order_by(PairItem.position).limit(1))


def _taken(annotator: str) -> ColumnElement[int]:
    """Count a pair's labels that count, and the leases of others that are still running."""
    running = and_(
        Preference.id.is_(None), Assignment.expires_at > now(), Assignment.annotator != annotator
    )
    return (
        select(func.count())
        .select_from(Assignment)
        .join(Annotator, Annotator.name == Assignment.annotator)
        .outerjoin(Preference, Preference.assignment_id == Assignment.id)
        .where(Assignment.pair_item_id == PairItem.id)
        .where(or_(running, and_(Preference.id.is_not(None), COUNTS)))
        .scalar_subquery()
    )


def take(session: Session, campaign: Campaign, item: PairItem, annotator: str) -> Assignment:
    """Lease a pair from now on; whoever had it before gets the same turn again."""
    mine = select(Assignment).where(
        Assignment.pair_item_id == item.id, Assignment.annotator == annotator
    )
    turn = session.scalar(mine)
    if turn is None:
        shown_first = side(campaign.seed, item.pair_id, annotator)
        turn = Assignment(pair_item_id=item.id, annotator=annotator, shown_first=shown_first)
        session.add(turn)
    turn.leased_at = now()
    turn.expires_at = turn.leased_at + timedelta(seconds=campaign.lease_s)
    session.flush()
    return turn


def side(seed: int, pair_id: str, annotator: str) -> str:
    """Return which answer stands on the left: always the same for this person and pair."""
    digest = hashlib.sha256(f"{seed}\n{pair_id}\n{annotator}".encode()).digest()
    return "first" if digest[0] & 1 else "second"


def is_full(session: Session, campaign: Campaign, item: PairItem, annotator: str) -> bool:
    """Whether others have, or are giving, all the labels that a pair needs."""
    taken = select(_taken(annotator)).select_from(PairItem).where(PairItem.id == item.id)
    return (session.scalar(taken) or 0) >= campaign.overlap


def release_others(session: Session, campaign_id: str, annotator: str) -> None:
    """Give the pairs an annotator has on lease back to everybody."""
    items = select(PairItem.id).where(PairItem.campaign_id == campaign_id)
    running = select(Assignment).where(
        Assignment.annotator == annotator,
        Assignment.pair_item_id.in_(items),
        Assignment.expires_at > now(),
        ~_has_label(),
    )
    for turn in session.scalars(running):
        turn.expires_at = now()
