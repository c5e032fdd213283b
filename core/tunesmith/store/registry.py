"""Released models: numbered versions, and aliases that move between them, with their history."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tunesmith.errors import StoreError, did_you_mean
from tunesmith.store.columns import now
from tunesmith.store.database import Store
from tunesmith.store.index import require
from tunesmith.store.models import Alias, AliasEvent, ModelVersion, RegisteredModel
from tunesmith.store.upserts import insert

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class AliasMoved(StoreError):
    """Raised when somebody else has moved an alias since it was looked at."""


@dataclass(frozen=True, slots=True)
class Version:
    """One released version of a model, and the aliases that point at it now."""

    model: str
    version: int
    artifact_id: str
    evidence_id: str | None
    run_id: str | None
    author: str
    notes: str
    created_at: datetime
    aliases: tuple[str, ...] = ()


def register(
    store: Store,
    model: str,
    artifact_id: str,
    *,
    author: str,
    run_id: str | None = None,
    evidence_id: str | None = None,
    notes: str = "",
) -> int:
    """Release an artifact as the next version of a model; return the version, from 1 without gaps.

    The artifact is verified first. A run that registers the same artifact again (it was killed in
    between) gets the version it made the first time.
    """
    _check_name("model", model)
    for one in filter(None, (artifact_id, evidence_id)):
        store.artifacts.get(one)
    with store.write() as session:
        store.lock(session, f"model {model}")
        known = _made_before(session, model, artifact_id, run_id)
        if known is not None:
            return known
        for one in filter(None, (artifact_id, evidence_id)):
            require(session, one, store.artifacts)
        named = insert(session, RegisteredModel).values(name=model, created_at=now())
        session.execute(named.on_conflict_do_nothing())
        version = _last_version(session, model) + 1
        row = ModelVersion(model=model, version=version, artifact_id=artifact_id, run_id=run_id)
        row.evidence_id, row.author, row.notes = evidence_id, author, notes
        session.add(row)
    return version


def _made_before(session: Session, model: str, artifact_id: str, run_id: str | None) -> int | None:
    if run_id is None:
        return None
    return session.scalar(
        select(ModelVersion.version).where(
            ModelVersion.model == model,
            ModelVersion.artifact_id == artifact_id,
            ModelVersion.run_id == run_id,
        )
    )


def _last_version(session: Session, model: str) -> int:
    wanted = select(func.max(ModelVersion.version)).where(ModelVersion.model == model)
    return session.scalar(wanted) or 0


def set_alias(
    store: Store,
    model: str,
    alias: str,
    version: int | None,
    *,
    actor: str,
    reason: str = "",
    expected_rev: int | None = None,
) -> int:
    """Point an alias at a version (or, with None, at nothing); return its new revision.

    With ``expected_rev`` (what ``alias_rev`` said, 0 for an alias never set) this is a
    compare-and-swap: of all who saw the same revision exactly one succeeds, the others get
    AliasMoved. Move and history are one transaction.
    """
    _check_name("alias", alias)
    with store.write() as session:
        store.lock(session, f"model {model}")
        target = None if version is None else _version(session, model, version)
        row = session.get(Alias, (model, alias)) or _new_alias(session, model, alias)
        if expected_rev is not None and row.rev != expected_rev:
            raise AliasMoved(
                f"The alias {alias!r} of {model} has moved meanwhile (revision {row.rev}, you saw"
                f" {expected_rev}). Look at where it points now, then decide again."
            )
        before = session.get(ModelVersion, row.version_id) if row.version_id else None
        row.rev, row.version_id = row.rev + 1, target.id if target else None
        event = AliasEvent(model=model, alias=alias, rev=row.rev, actor=actor, reason=reason)
        event.from_version, event.to_version = before.version if before else None, version
        session.add(event)
        return row.rev


def _new_alias(session: Session, model: str, alias: str) -> Alias:
    _require_model(session, model)
    row = Alias(model=model, name=alias, version_id=None, rev=0)
    session.add(row)
    return row


def alias_rev(store: Store, model: str, alias: str) -> int:
    """Return how often an alias has moved: 0 when it was never set."""
    with store.read() as session:
        row = session.get(Alias, (model, alias))
        return row.rev if row else 0


def resolve(store: Store, model: str, name: str | int) -> Version:
    """Return the version a number or an alias stands for; StoreError names what exists."""
    with store.read() as session:
        if isinstance(name, int) or name.isdecimal():
            return described(session, _version(session, model, int(name)))
        row = session.get(Alias, (model, name))
        found = session.get(ModelVersion, row.version_id) if row and row.version_id else None
        if found is None:
            _require_model(session, model)
            wanted = select(Alias.name).where(Alias.model == model, Alias.version_id.is_not(None))
            known = session.scalars(wanted).all()
            raise StoreError(
                f"{model} has no alias {name!r}.{did_you_mean(name, known)}"
                f" Set: {', '.join(sorted(known)) or 'none'}."
            )
        return described(session, found)


def described(session: Session, row: ModelVersion) -> Version:
    """Return a version's row as a plain record with its aliases."""
    aliases = session.scalars(select(Alias.name).where(Alias.version_id == row.id))
    return Version(
        row.model,
        row.version,
        row.artifact_id,
        row.evidence_id,
        row.run_id,
        row.author,
        row.notes,
        row.created_at,
        tuple(sorted(aliases)),
    )


def _version(session: Session, model: str, version: int) -> ModelVersion:
    wanted = select(ModelVersion).where(
        ModelVersion.model == model, ModelVersion.version == version
    )
    row = session.scalar(wanted)
    if row is None:
        _require_model(session, model)
        last = _last_version(session, model)
        raise StoreError(f"{model} has no version {version}; it has 1 to {last}.")
    return row


def _require_model(session: Session, model: str) -> None:
    if session.get(RegisteredModel, model) is None:
        known = session.scalars(select(RegisteredModel.name)).all()
        raise StoreError(
            f"No model is registered as {model!r}.{did_you_mean(model, known)}"
            f" Registered: {', '.join(sorted(known)) or 'none'}."
        )


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name) or (what == "alias" and name.isdecimal()):
        raise StoreError(
            f"{name!r} is not a name for {'an alias' if what == 'alias' else 'a model'};"
            " use small letters, digits, '.', '-' and '_' (at most 64)."
        )
