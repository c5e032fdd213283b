"""The database's copy of what the artifact folder holds, for questions that need no disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete
from sqlalchemy.orm import Session

from tunesmith.store import models
from tunesmith.store.artifacts import Artifact, ArtifactStore
from tunesmith.store.columns import now
from tunesmith.store.upserts import insert

if TYPE_CHECKING:
    from tunesmith.store.database import Store


def record(session: Session, artifact: Artifact, artifacts: ArtifactStore) -> None:
    """Write an artifact's row and its edges; inputs the index does not know are read from disk."""
    for one in artifact.inputs:
        require(session, one, artifacts)
    row = insert(session, models.Artifact).values(
        id=artifact.id,
        kind=artifact.kind,
        digest=artifact.digest,
        size=artifact.size,
        manifest=artifact.manifest,
    )
    session.execute(
        row.on_conflict_do_update(
            index_elements=["id"], set_={"committed_at": now(), "deleted_at": None}
        )
    )
    session.execute(
        delete(models.ArtifactInput).where(models.ArtifactInput.artifact_id == artifact.id)
    )
    for position, one in enumerate(dict.fromkeys(artifact.inputs)):
        session.add(models.ArtifactInput(artifact_id=artifact.id, input_id=one, position=position))
    session.flush()


def require(session: Session, artifact_id: str, artifacts: ArtifactStore) -> None:
    """Make sure an artifact has its row: a folder may be older than the database beside it."""
    known = session.get(models.Artifact, artifact_id)
    if known is None or known.deleted_at is not None:
        record(session, artifacts.get(artifact_id), artifacts)


def reindex(store: Store) -> list[str]:
    """Write rows for the artifacts on disk that the database does not know; return their ids."""
    with store.read() as session:
        unknown = [
            one for one in store.artifacts.ids() if session.get(models.Artifact, one) is None
        ]
    for one in unknown:
        artifact = store.artifacts.get(one)
        with store.write() as session:
            record(session, artifact, store.artifacts)
    return unknown
