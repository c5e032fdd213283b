"""Putting right what dead processes left RUNNING."""

from __future__ import annotations

from sqlalchemy import select

from tunesmith.store.columns import now
from tunesmith.store.database import Store
from tunesmith.store.ledger import close
from tunesmith.store.models import Run, StageAttempt
from tunesmith.store.runs import holder_of


def reconcile(store: Store) -> list[str]:
    """Mark as CRASHED the runs and attempts whose process is gone; return the ids of the runs.

    Whatever a live process holds, or one on another machine, is left alone.
    """
    crashed: list[str] = []
    running = select(StageAttempt).where(StageAttempt.status == "RUNNING")
    with store.write() as session:
        for run in session.scalars(select(Run).where(Run.status == "RUNNING")):
            holder = holder_of(run)
            if holder is not None and holder.is_dead():
                run.status, run.reason = "CRASHED", f"{holder} ended without a word."
                run.finished_at = run.updated_at = now()
                crashed.append(run.id)
        for attempt in session.scalars(running):
            holder = holder_of(attempt)
            if holder is not None and holder.is_dead():
                close(attempt, "CRASHED", f"{holder} ended without a word.")
    return crashed
