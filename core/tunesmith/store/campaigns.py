"""Labelling campaigns: which pairs, how many labels each, and the labels in and out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tunesmith.errors import StoreError, did_you_mean
from tunesmith.records import Label, Pair
from tunesmith.store.annotators import enrol
from tunesmith.store.columns import now
from tunesmith.store.counting import Progress, find, labelled, progress
from tunesmith.store.database import Store
from tunesmith.store.models import (
    VERDICTS,
    Annotator,
    Assignment,
    Campaign,
    PairItem,
    Preference,
)
from tunesmith.store.upserts import insert

__all__ = ["Progress", "close", "create", "find", "import_labels", "labels", "progress"]

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


def create(
    store: Store,
    campaign_id: str,
    pairs: Sequence[Pair],
    *,
    overlap: int = 1,
    quorum: float = 1.0,
    agreement: float | None = None,
    seed: int = 0,
    source: str = "human",
    run_id: str | None = None,
    deadline_at: datetime | None = None,
    guidelines: str = "",
    lease_s: float = 900.0,
) -> str:
    """Open a campaign; return its id. The same id with the same pairs again is the same campaign.

    Done when the share ``quorum`` of the pairs has ``overlap`` labels each. A lease not used for
    ``lease_s`` seconds goes to the next annotator. The sides are shuffled by ``seed``.
    """
    _check(campaign_id, pairs, overlap, quorum)
    with store.write() as session:
        store.lock(session, f"campaign {campaign_id}")
        if session.get(Campaign, campaign_id) is not None:
            _refuse_other_pairs(session, campaign_id, pairs)
            return campaign_id
        campaign = Campaign(id=campaign_id, run_id=run_id, source=source, overlap=overlap)
        campaign.quorum, campaign.agreement, campaign.seed = quorum, agreement, seed
        campaign.deadline_at, campaign.guidelines = deadline_at, guidelines
        campaign.lease_s = lease_s
        session.add(campaign)
        session.flush()
        session.add_all(_item(campaign_id, number, pair) for number, pair in enumerate(pairs))
    return campaign_id


def _check(campaign_id: str, pairs: Sequence[Pair], overlap: int, quorum: float) -> None:
    if not ID.fullmatch(campaign_id):
        raise StoreError(f"{campaign_id!r} is not a campaign id; use [a-z0-9._-], at most 80.")
    if overlap < 1 or not 0 < quorum <= 1:
        raise StoreError("A campaign needs an overlap of at least 1 and a quorum in 0..1.")
    twice = len(pairs) - len({pair.id for pair in pairs})
    if twice or not pairs:
        raise StoreError(f"A campaign needs distinct pairs; {twice} of {len(pairs)} are repeated.")


def _item(campaign_id: str, position: int, pair: Pair) -> PairItem:
    content = {
        "prompt": pair.prompt,
        "first": pair.first,
        "second": pair.second,
        "reference": pair.reference,
    }
    return PairItem(
        campaign_id=campaign_id,
        pair_id=pair.id,
        position=position,
        task=pair.task,
        content=content,
    )


def _refuse_other_pairs(session: Session, campaign_id: str, pairs: Sequence[Pair]) -> None:
    known = select(PairItem.pair_id).where(PairItem.campaign_id == campaign_id)
    if set(session.scalars(known)) != {pair.id for pair in pairs}:
        raise StoreError(
            f"The campaign {campaign_id} exists with other pairs; give this one another id."
        )


def labels(store: Store, campaign_id: str) -> list[Label]:
    """Return the labels that were given, skips too, in the order of the pairs, then by name.

    Those of excluded annotators are left out.
    """
    wanted = labelled(campaign_id, PairItem.pair_id, Assignment, Preference)
    kept = wanted.where(Annotator.excluded.is_(False))
    with store.read() as session:
        find(session, campaign_id)
        rows = session.execute(kept.order_by(PairItem.position, Assignment.annotator))
        return [_label(pair_id, turn, given) for pair_id, turn, given in rows]


def _label(pair_id: str, turn: Assignment, given: Preference) -> Label:
    return Label(
        pair_id=pair_id,
        annotator=turn.annotator,
        verdict=given.verdict,
        shown_first=turn.shown_first,
        strength=given.strength,
        source=given.source,
        details=given.details,
    )


def import_labels(store: Store, campaign_id: str, given: Iterable[Label]) -> int:
    """Store labels that were not made on a page (simulated, judged, from a file).

    Returns how many were new: what an annotator has already said of a pair is left as it is. A
    pair or verdict that does not exist raises StoreError, and nothing is stored.
    """
    incoming = list(given)
    with store.write() as session:
        store.lock(session, f"campaign {campaign_id}")
        find(session, campaign_id)
        known = select(PairItem.pair_id, PairItem.id).where(PairItem.campaign_id == campaign_id)
        items = dict(session.execute(known).tuples().all())
        for one in incoming:
            _check_label(one, items)
        for name in sorted({one.annotator for one in incoming}):
            enrol(session, name)
        return _import(session, campaign_id, items, incoming) if incoming else 0


def _check_label(label: Label, items: dict[str, int]) -> None:
    if label.pair_id not in items:
        raise StoreError(f"The pair {label.pair_id!r} of a label is not in this campaign.")
    if label.verdict not in VERDICTS:
        raise StoreError(f"No verdict {label.verdict!r}.{did_you_mean(label.verdict, VERDICTS)}")


def _import(
    session: Session, campaign_id: str, items: dict[str, int], incoming: Sequence[Label]
) -> int:
    count = labelled(campaign_id, func.count())
    before = session.scalar(count) or 0
    turns = insert(session, Assignment).on_conflict_do_nothing()
    session.execute(turns, [_turn(items[one.pair_id], one) for one in incoming])
    made = _turns(session, campaign_id)
    wanted = insert(session, Preference).on_conflict_do_nothing()
    rows = [_preference(made[items[one.pair_id], one.annotator], one) for one in incoming]
    session.execute(wanted, rows)
    return (session.scalar(count) or 0) - before


def _turns(session: Session, campaign_id: str) -> dict[tuple[int, str], int]:
    wanted = (
        select(Assignment.pair_item_id, Assignment.annotator, Assignment.id)
        .join(PairItem, PairItem.id == Assignment.pair_item_id)
        .where(PairItem.campaign_id == campaign_id)
    )
    return {(item, name): turn for item, name, turn in session.execute(wanted)}


def _turn(item: int, label: Label) -> dict[str, object]:
    return {
        "pair_item_id": item,
        "annotator": label.annotator,
        "shown_first": label.shown_first,
        "leased_at": now(),
        "expires_at": now(),
        "draft": None,
    }


def _preference(turn: int, label: Label) -> dict[str, object]:
    return {
        "assignment_id": turn,
        "verdict": label.verdict,
        "strength": label.strength,
        "source": label.source,
        "seconds": None,
        "details": dict(label.details),
        "created_at": now(),
    }


def close(store: Store, campaign_id: str) -> None:
    """Take no more labels; doing it again changes nothing."""
    with store.write() as session:
        store.lock(session, f"campaign {campaign_id}")
        campaign = find(session, campaign_id)
        if campaign.status == "OPEN":
            campaign.status, campaign.closed_at = "CLOSED", now()
