"""Turns at a labelling page: who sees which pair next, and the one label that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tunesmith.errors import StoreError, did_you_mean
from tunesmith.records import Pair
from tunesmith.store import leases
from tunesmith.store.annotators import enrol, refuse_excluded
from tunesmith.store.columns import now
from tunesmith.store.counting import find
from tunesmith.store.database import Store
from tunesmith.store.models import VERDICTS, Assignment, Campaign, PairItem, Preference
from tunesmith.store.upserts import insert

CHOICES = ("left", "right", *VERDICTS)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one annotator sees: a pair with its sides in a fixed order, until the lease ends."""

    assignment_id: int
    campaign_id: str
    pair: Pair
    shown_first: str
    expires_at: datetime
    draft: dict[str, Any] | None
    guidelines: str

    @property
    def left(self) -> str:
        """The answer shown first."""
        return self.pair.first if self.shown_first == "first" else self.pair.second

    @property
    def right(self) -> str:
        """The answer shown second."""
        return self.pair.second if self.shown_first == "first" else self.pair.first


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a label: stored now, or not, with the verdict that is stored and why."""

    stored: bool
    verdict: str | None
    reason: str = ""


def next_assignment(store: Store, campaign_id: str, annotator: str) -> Turn | None:
    """Return the annotator's open turn, or lease the next pair; None when none is left for them.

    Nobody gets a pair twice, and no pair has more labels and leases than the overlap. An annotator
    who is excluded, or a campaign that is closed, raises StoreError.
    """
    with store.write() as session:
        store.lock(session, f"campaign {campaign_id}")
        campaign = _open_campaign(session, campaign_id)
        enrol(session, annotator)
        refuse_excluded(session, annotator)
        item = leases.open_item(session, campaign, annotator) or leases.next_item(
            session, campaign, annotator
        )
        if item is None:
            return None
        return _turn(campaign, item, leases.take(session, campaign, item, annotator))


def _open_campaign(session: Session, campaign_id: str) -> Campaign:
    campaign = find(session, campaign_id)
    if campaign.status != "OPEN":
        raise StoreError(f"The campaign {campaign_id} is closed; it takes no more labels.")
    return campaign


def _turn(campaign: Campaign, item: PairItem, turn: Assignment) -> Turn:
    return Turn(
        assignment_id=turn.id,
        campaign_id=campaign.id,
        pair=item.as_pair(),
        shown_first=turn.shown_first,
        expires_at=turn.expires_at,
        draft=turn.draft,
        guidelines=campaign.guidelines,
    )


def record_label(
    store: Store,
    assignment_id: int,
    annotator: str,
    choice: str,
    *,
    strength: float | None = None,
    seconds: float | None = None,
    details: Mapping[str, Any] | None = None,
    source: str = "human",
) -> Recorded:
    """Write the label of a turn, once; return what is stored.

    ``choice`` is a side as it was shown (``left``, ``right``), or ``tie``, ``both_bad``, ``skip``,
    or an answer of the pair (``first``, ``second``). Sent again, by a double click or a retry,
    the first label stays. A lease that ended counts as long as its pair still needs a label.
    """
    if choice not in CHOICES:
        raise StoreError(f"No choice {choice!r}.{did_you_mean(choice, CHOICES)}")
    with store.write() as session:
        turn, item = _find_turn(store, session, assignment_id, annotator)
        refuse_excluded(session, annotator)
        stored = _stored_verdict(session, assignment_id)
        if stored is not None:
            return Recorded(False, stored, "This pair already has your label.")
        campaign = _open_campaign(session, item.campaign_id)
        if turn.expires_at <= now() and leases.is_full(session, campaign, item, annotator):
            return Recorded(False, None, "Your time was over and others have labelled this pair.")
        verdict = verdict_of(choice, turn.shown_first)
        row = insert(session, Preference).values(
            assignment_id=assignment_id,
            verdict=verdict,
            strength=strength,
            seconds=seconds,
            details=dict(details or {}),
            source=source,
            created_at=now(),
        )
        once = row.on_conflict_do_nothing(index_elements=["assignment_id"])
        written = session.scalar(once.returning(Preference.id)) is not None
        turn.draft = None
        return Recorded(written, verdict)


def verdict_of(choice: str, shown_first: str) -> str:
    """Return the verdict that a choice of side means."""
    if choice not in ("left", "right"):
        return choice
    other = "second" if shown_first == "first" else "first"
    return shown_first if choice == "left" else other


def _find_turn(
    store: Store, session: Session, assignment_id: int, annotator: str
) -> tuple[Assignment, PairItem]:
    turn = session.get(Assignment, assignment_id)
    item = session.get(PairItem, turn.pair_item_id) if turn else None
    if turn is None or item is None or turn.annotator != annotator:
        raise StoreError(f"{annotator} has no turn {assignment_id}; ask for the next pair.")
    store.lock(session, f"campaign {item.campaign_id}")
    session.refresh(turn)
    return turn, item


def _stored_verdict(session: Session, assignment_id: int) -> str | None:
    return session.scalar(
        select(Preference.verdict).where(Preference.assignment_id == assignment_id)
    )


def save_draft(store: Store, assignment_id: int, annotator: str, draft: Mapping[str, Any]) -> None:
    """Keep what an annotator has typed so far, and renew the lease."""
    with store.write() as session:
        turn, item = _find_turn(store, session, assignment_id, annotator)
        if _stored_verdict(session, assignment_id) is None:
            turn.draft = dict(draft)
            if turn.expires_at > now():
                lease_s = find(session, item.campaign_id).lease_s
                turn.expires_at = now() + timedelta(seconds=lease_s)


def undo_last(store: Store, campaign_id: str, annotator: str) -> int | None:
    """Take back the annotator's newest label in an open campaign; return that turn's id.

    It becomes their open turn again; the pair they were looking at goes back to everybody.
    """
    with store.write() as session:
        store.lock(session, f"campaign {campaign_id}")
        campaign = _open_campaign(session, campaign_id)
        newest = (
            select(Preference.id, PairItem)
            .join(Assignment, Assignment.id == Preference.assignment_id)
            .join(PairItem, PairItem.id == Assignment.pair_item_id)
            .where(PairItem.campaign_id == campaign_id, Assignment.annotator == annotator)
            .order_by(Preference.created_at.desc(), Preference.id.desc())
            .limit(1)
        )
        found = session.execute(newest).first()
        if found is None:
            return None
        preference_id, item = found
        session.execute(delete(Preference).where(Preference.id == preference_id))
        leases.release_others(session, campaign_id, annotator)
        return leases.take(session, campaign, item, annotator).id
