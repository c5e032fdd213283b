"""Questions about artifacts, where they come from, and what was released."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith.errors import StoreError, did_you_mean
from tunesmith.store.database import Store
from tunesmith.store.models import (
    Alias,
    AliasEvent,
    Artifact,
    ArtifactInput,
    ModelVersion,
    RegisteredModel,
    StageAttempt,
)
from tunesmith.store.registry import Version, described


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """What the index knows of an artifact, whether it is still on disk or not."""

    id: str
    kind: str
    digest: str
    size: int
    created_at: datetime
    deleted_at: datetime | None
    inputs: list[str]
    config: dict[str, Any]
    metrics: dict[str, Any]
    seed: int | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """What an artifact came from (``up``) and what came of it (``down``), nearest first.

    ``edges`` are ``(input, made from it)``; ``runs`` tells which runs made or used a node.
    """

    id: str
    nodes: dict[str, ArtifactRow]
    edges: list[tuple[str, str]]
    up: list[str]
    down: list[str]
    runs: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class AliasRow:
    """Where an alias points; ``version`` is None when it was taken away."""

    alias: str
    version: int | None
    rev: int


@dataclass(frozen=True, slots=True)
class AliasEventRow:
    """One move of an alias."""

    alias: str
    rev: int
    from_version: int | None
    to_version: int | None
    actor: str
    reason: str
    created_at: datetime


def artifact(store: Store, artifact_id: str) -> ArtifactRow:
    """Return what the index knows of one artifact; StoreError names the nearest id."""
    with store.read() as session:
        return _row(_find(session, artifact_id))


def artifacts_of(store: Store, run_id: str) -> list[ArtifactRow]:
    """Return the artifacts a run made or took from the ledger, in the order of its stages."""
    used = (
        select(Artifact)
        .join(StageAttempt, StageAttempt.artifact_id == Artifact.id)
        .where(StageAttempt.run_id == run_id)
        .order_by(StageAttempt.id)
    )
    with store.read() as session:
        found = {one.id: one for one in session.scalars(used)}
        return [_row(one) for one in found.values()]


def _find(session: Session, artifact_id: str) -> Artifact:
    row = session.get(Artifact, artifact_id)
    if row is None:
        known = session.scalars(select(Artifact.id))
        raise StoreError(f"No artifact {artifact_id!r}.{did_you_mean(artifact_id, known)}")
    return row


def _row(row: Artifact) -> ArtifactRow:
    manifest = row.manifest
    return ArtifactRow(
        id=row.id,
        kind=row.kind,
        digest=row.digest,
        size=row.size,
        created_at=row.created_at,
        deleted_at=row.deleted_at,
        inputs=manifest["inputs"],
        config=manifest["config"],
        metrics=manifest["metrics"],
        seed=manifest["seed"],
    )


def lineage(store: Store, artifact_id: str) -> Lineage:
    """Return everything an artifact came from, and everything that came of it."""
    with store.read() as session:
        _find(session, artifact_id)
        upwards = walk(session, [artifact_id], up=True)
        downwards = walk(session, [artifact_id], up=False)
        ids = [artifact_id, *upwards[0], *downwards[0]]
        nodes = session.scalars(select(Artifact).where(Artifact.id.in_(ids)))
        return Lineage(
            id=artifact_id,
            nodes={one.id: _row(one) for one in nodes},
            edges=sorted({*upwards[1], *downwards[1]}),
            up=upwards[0],
            down=downwards[0],
            runs=_runs_of(session, ids),
        )


def walk(
    session: Session, start: Sequence[str], *, up: bool
) -> tuple[list[str], list[tuple[str, str]]]:
    """Follow the edges level by level; return the ids in the order they were met, and the edges."""
    here, there = ArtifactInput.artifact_id, ArtifactInput.input_id
    if not up:
        here, there = there, here
    met: dict[str, None] = dict.fromkeys(start)
    edges: list[tuple[str, str]] = []
    level = list(start)
    while level:
        wanted = select(ArtifactInput).where(here.in_(level)).order_by(there)
        found = [(one.input_id, one.artifact_id) for one in session.scalars(wanted)]
        edges += found
        level = [one for one in _ends(found, up=up) if one not in met]
        met |= dict.fromkeys(level)
    return list(met)[len(start) :], edges


def _ends(edges: Iterable[tuple[str, str]], *, up: bool) -> list[str]:
    return list(dict.fromkeys(source if up else made for source, made in edges))


def _runs_of(session: Session, ids: Iterable[str]) -> dict[str, list[str]]:
    wanted = (
        select(StageAttempt.artifact_id, StageAttempt.run_id)
        .where(StageAttempt.artifact_id.in_(list(ids)))
        .order_by(StageAttempt.id)
    )
    found: dict[str, dict[str, None]] = {}
    for artifact_id, run_id in session.execute(wanted):
        found.setdefault(str(artifact_id), {})[run_id] = None
    return {one: list(run_ids) for one, run_ids in found.items()}


def models(store: Store) -> list[str]:
    """Return the names of the registered models, sorted."""
    with store.read() as session:
        return list(session.scalars(select(RegisteredModel.name).order_by(RegisteredModel.name)))


def versions(store: Store, model: str) -> list[Version]:
    """Return a model's versions, newest first."""
    wanted = select(ModelVersion).where(ModelVersion.model == model)
    with store.read() as session:
        found = session.scalars(wanted.order_by(ModelVersion.version.desc()))
        return [described(session, row) for row in found]


def aliases(store: Store, model: str) -> list[AliasRow]:
    """Return where a model's aliases point."""
    wanted = (
        select(Alias.name, ModelVersion.version, Alias.rev)
        .outerjoin(ModelVersion, ModelVersion.id == Alias.version_id)
        .where(Alias.model == model)
        .order_by(Alias.name)
    )
    with store.read() as session:
        return [AliasRow(*row) for row in session.execute(wanted)]


def alias_history(store: Store, model: str, alias: str | None = None) -> list[AliasEventRow]:
    """Return the moves of a model's aliases (or of one), newest first."""
    wanted = select(AliasEvent).where(AliasEvent.model == model)
    if alias is not None:
        wanted = wanted.where(AliasEvent.alias == alias)
    with store.read() as session:
        return [
            AliasEventRow(
                one.alias,
                one.rev,
                one.from_version,
                one.to_version,
                one.actor,
                one.reason,
                one.created_at,
            )
            for one in session.scalars(wanted.order_by(AliasEvent.id.desc()))
        ]
