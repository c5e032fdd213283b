"""``INSERT ... ON CONFLICT`` for whichever database the session speaks to."""

from __future__ import annotations

from typing import cast

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tunesmith.store.columns import Base


def insert(session: Session, table: type[Base]) -> sqlite.Insert:
    """Return an insert with ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    # The two classes share no base, but every method used here.
    return cast(sqlite.Insert, postgresql.insert(table))
