"""Annotators: enrolled by their first label, excluded when theirs should not count."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith.errors import StoreError, did_you_mean
from tunesmith.store.columns import now
from tunesmith.store.database import Store
from tunesmith.store.models import Annotator
from tunesmith.store.upserts import insert


def enrol(session: Session, name: str) -> None:
    """Make sure an annotator has a row."""
    if not 0 < len(name.strip()) <= 200 or not name.isprintable():
        raise StoreError(f"{name!r} is not a name for an annotator; use 1 to 200 characters.")
    row = insert(session, Annotator).values(name=name, excluded=False, created_at=now())
    session.execute(row.on_conflict_do_nothing())


def refuse_excluded(session: Session, name: str) -> None:
    """Raise StoreError when somebody no longer takes part."""
    annotator = session.get(Annotator, name)
    if annotator is not None and annotator.excluded:
        raise StoreError(f"{name} no longer takes part in labelling: {annotator.reason}")


def exclude(store: Store, annotator: str, reason: str) -> None:
    """Stop counting somebody's labels, everywhere; they are kept."""
    _set_excluded(store, annotator, True, reason)


def include(store: Store, annotator: str) -> None:
    """Count somebody's labels again."""
    _set_excluded(store, annotator, False, None)


def _set_excluded(store: Store, name: str, excluded: bool, reason: str | None) -> None:
    with store.write() as session:
        annotator = session.get(Annotator, name)
        if annotator is None:
            known = session.scalars(select(Annotator.name))
            raise StoreError(f"No annotator {name!r}.{did_you_mean(name, known)}")
        annotator.excluded, annotator.reason = excluded, reason
