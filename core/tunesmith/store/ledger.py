"""The stage ledger: a stage key leads to one artifact, and one process at a time works on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tunesmith.errors import StoreError
from tunesmith.store.columns import now
from tunesmith.store.database import Store
from tunesmith.store.index import require
from tunesmith.store.models import StageAttempt, StageEntry
from tunesmith.store.runs import find, hold, holder_of
from tunesmith.store.upserts import insert


class StageBusy(StoreError):
    """Raised when a live process is at work on the same stage key; the message says which."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Either an ``attempt`` (do the work, then ``finish``) or the ``artifact`` that is there."""

    attempt: int | None = None
    artifact: str | None = None


def lookup(store: Store, key: str) -> str | None:
    """Return the id of the artifact a finished stage led to, or None.

    An artifact whose folder was deleted counts as never made; one that is damaged is found, and
    refused by ``artifacts.get``.
    """
    with store.read() as session:
        return _known(store, session, key)


def _known(store: Store, session: Session, key: str) -> str | None:
    entry = session.get(StageEntry, key)
    if entry is None or not store.artifacts.exists(entry.artifact_id):
        return None
    return entry.artifact_id


def begin(store: Store, run_id: str, stage: str, key: str) -> int:
    """Start an attempt held by this process, even where a result exists; return its id.

    Raises StageBusy when a live process is at work on the same key. What a dead one left RUNNING
    becomes CRASHED.
    """
    with store.write() as session:
        return _begin(store, session, run_id, stage, key)


def claim(store: Store, run_id: str, stage: str, key: str, *, wait_s: float = 0.0) -> Claim:
    """Return the artifact that ``key`` leads to, or a new attempt to make it.

    While another live process makes it, wait up to ``wait_s`` seconds for its result; it may also
    fail or die, and then the attempt is ours. Raises StageBusy when the time is over.
    """
    end = time.monotonic() + wait_s
    while True:
        try:
            with store.write() as session:
                known = _known(store, session, key)
                if known is not None:
                    return Claim(artifact=known)
                return Claim(attempt=_begin(store, session, run_id, stage, key))
        except StageBusy:
            if time.monotonic() >= end:
                raise
            time.sleep(0.2)


def _begin(store: Store, session: Session, run_id: str, stage: str, key: str) -> int:
    store.lock(session, f"stage {key}")
    find(session, run_id)
    other = session.scalar(
        select(StageAttempt).where(StageAttempt.key == key, StageAttempt.status == "RUNNING")
    )
    if other is not None:
        _bury(other)
        session.flush()
    attempt = StageAttempt(run_id=run_id, stage=stage, key=key, status="RUNNING", timings={})
    hold(attempt)
    session.add(attempt)
    session.flush()
    return attempt.id


def _bury(other: StageAttempt) -> None:
    holder = holder_of(other)
    if holder is not None and not holder.is_dead():
        raise StageBusy(
            f"The stage {other.stage} is being worked on by {holder} (run {other.run_id})."
            " Wait for it, or stop it there."
        )
    close(other, "CRASHED", f"{holder} ended without a word.")


def close(attempt: StageAttempt, status: str, reason: str | None) -> None:
    """End an attempt."""
    attempt.status, attempt.reason, attempt.finished_at = status, reason, now()


def finish(
    store: Store, attempt_id: int, artifact_id: str, timings: Mapping[str, float] | None = None
) -> None:
    """End an attempt with its artifact and write the ledger's entry, in one transaction."""
    with store.write() as session:
        attempt = _running(session, attempt_id)
        require(session, artifact_id, store.artifacts)
        close(attempt, "COMPLETED", None)
        attempt.artifact_id, attempt.timings = artifact_id, dict(timings or {})
        _enter(session, attempt, artifact_id)


def _enter(session: Session, attempt: StageAttempt, artifact_id: str) -> None:
    led_to = {"artifact_id": artifact_id, "attempt_id": attempt.id, "created_at": now()}
    entry = insert(session, StageEntry).values(key=attempt.key, stage=attempt.stage, **led_to)
    session.execute(entry.on_conflict_do_update(index_elements=["key"], set_=led_to))


def fail(store: Store, attempt_id: int, error: BaseException | str) -> None:
    """End an attempt that failed."""
    _end(store, attempt_id, "FAILED", str(error) or type(error).__name__)


def stop(store: Store, attempt_id: int, reason: str = "Stopped by the user.") -> None:
    """End an attempt that was asked to stop; its checkpoint lets the next one go on."""
    _end(store, attempt_id, "STOPPED", reason)


def wait(store: Store, attempt_id: int, reason: str) -> None:
    """End an attempt that cannot go on until people have done something."""
    _end(store, attempt_id, "WAITING", reason)


def _end(store: Store, attempt_id: int, status: str, reason: str) -> None:
    with store.write() as session:
        close(_running(session, attempt_id), status, reason)


def _running(session: Session, attempt_id: int) -> StageAttempt:
    attempt = session.get(StageAttempt, attempt_id)
    if attempt is None or attempt.status != "RUNNING":
        state = "does not exist" if attempt is None else f"is already {attempt.status}"
        raise StoreError(f"The stage attempt {attempt_id} {state}.")
    return attempt


def cached(store: Store, run_id: str, stage: str, key: str, artifact_id: str) -> None:
    """Note that a run took a stage's artifact from the ledger; a second note changes nothing."""
    with store.write() as session:
        store.lock(session, f"stage {key}")
        find(session, run_id)
        require(session, artifact_id, store.artifacts)
        noted = select(StageAttempt.id).where(
            StageAttempt.run_id == run_id,
            StageAttempt.stage == stage,
            StageAttempt.key == key,
            StageAttempt.artifact_id == artifact_id,
            StageAttempt.status.in_(("COMPLETED", "CACHED")),
        )
        if session.scalar(noted.limit(1)) is None:
            attempt = StageAttempt(run_id=run_id, stage=stage, key=key, timings={})
            close(attempt, "CACHED", None)
            attempt.artifact_id = artifact_id
            session.add(attempt)


def forget(store: Store, artifact_id: str) -> int:
    """Drop the entries that lead to an artifact, so that it is made again; return how many."""
    with store.write() as session:
        found = session.execute(delete(StageEntry).where(StageEntry.artifact_id == artifact_id))
        return int(getattr(found, "rowcount", 0))
