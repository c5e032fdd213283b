"""What on the disk nothing needs any more, and its removal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tunesmith.store import scratch
from tunesmith.store.columns import now
from tunesmith.store.database import Store
from tunesmith.store.failures import disk_errors
from tunesmith.store.models import (
    Artifact,
    ArtifactInput,
    ModelVersion,
    Run,
    StageAttempt,
    StageEntry,
)

YOUNG_S = 600.0
"""An artifact this young may be on its way into the ledger."""


@dataclass(frozen=True, slots=True)
class Waste:
    """An artifact that nothing needs; ``size`` in bytes."""

    id: str
    kind: str
    size: int


def unreferenced(
    store: Store, *, keep_unfinished: bool = True, young_s: float = YOUNG_S
) -> list[Waste]:
    """Return what may be deleted, the largest first.

    Kept are the artifacts of every registered version (with its evidence) and of every run that is
    in progress, all they were made from, and what was stored in the last ``young_s`` seconds. Runs
    that failed or were stopped can be resumed and count as in progress, unless
    ``keep_unfinished`` is false.
    """
    with store.read() as session:
        return _waste(store, session, keep_unfinished, young_s)


def gc(
    store: Store,
    *,
    dry_run: bool = True,
    keep_unfinished: bool = True,
    young_s: float = YOUNG_S,
) -> list[Waste]:
    """Delete what ``unreferenced`` lists (or, in a dry run, only list it) and what kills left.

    The rows stay, marked as deleted, so that the lineage can still be told.
    """
    if dry_run:
        return unreferenced(store, keep_unfinished=keep_unfinished, young_s=young_s)
    with disk_errors(store.artifacts.root):
        store.artifacts.sweep()
        bin_ = scratch.create(store.artifacts.drafts, "deleted")
        # Renamed under the write lock: whoever commits the same content waits, and then sees it.
        with store.write() as session:
            store.lock(session, "artifacts")
            waste = _waste(store, session, keep_unfinished, young_s)
            for one in waste:
                _mark_deleted(session, one.id)
                (store.artifacts.root / one.id).rename(bin_ / one.id)
        scratch.drop(bin_)
    return waste


def _mark_deleted(session: Session, artifact_id: str) -> None:
    session.execute(delete(StageEntry).where(StageEntry.artifact_id == artifact_id))
    row = session.get(Artifact, artifact_id)
    if row is not None:
        row.deleted_at = now()


def _waste(store: Store, session: Session, keep_unfinished: bool, young_s: float) -> list[Waste]:
    needed = _with_inputs(session, _roots(session, keep_unfinished))
    idle = [one for one in store.artifacts.ids() if one not in needed]
    found = [
        _weighed(store.artifacts.root / one)
        for one in idle
        if not _young(store, session, one, young_s)
    ]
    return sorted(found, key=lambda one: (-one.size, one.id))


def _roots(session: Session, keep_unfinished: bool) -> set[str]:
    in_progress = ["RUNNING", "WAITING"]
    if keep_unfinished:
        in_progress += ["STOPPED", "FAILED", "CRASHED"]
    made = (
        select(StageAttempt.artifact_id)
        .join(Run, Run.id == StageAttempt.run_id)
        .where(Run.status.in_(in_progress))
    )
    released = select(ModelVersion.artifact_id)
    evidence = select(ModelVersion.evidence_id)
    return {one for query in (made, released, evidence) for one in session.scalars(query) if one}


def _with_inputs(session: Session, roots: set[str]) -> set[str]:
    edges: dict[str, set[str]] = {}
    for made, source in session.execute(select(ArtifactInput.artifact_id, ArtifactInput.input_id)):
        edges.setdefault(made, set()).add(source)
    needed: set[str] = set()
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        if one not in needed:
            needed.add(one)
            waiting.extend(edges.get(one, ()))
    return needed


def _young(store: Store, session: Session, artifact_id: str, young_s: float) -> bool:
    row = session.get(Artifact, artifact_id)
    committed = row.committed_at.timestamp() if row else 0.0
    written = (store.artifacts.root / artifact_id).stat().st_ctime
    return time.time() - max(committed, written) < young_s


def _weighed(folder: Path) -> Waste:
    # A damaged manifest must not stand in the way of deleting the folder.
    sizes = [path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()]
    return Waste(folder.name, folder.name.rpartition("-")[0], sum(sizes))
