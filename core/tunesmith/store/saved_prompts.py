"""Saved prompts: numbered versions that never change, and aliases that move between them.

A prompt's content is what the style ``saved`` takes: system text, template, style, shots, sampler.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith.errors import StoreError, did_you_mean
from tunesmith.store.columns import now
from tunesmith.store.database import Store
from tunesmith.store.models import PromptAlias, PromptAliasEvent, PromptVersion, SavedPrompt
from tunesmith.store.registry import AliasMoved
from tunesmith.store.upserts import insert

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class NoSuchPrompt(StoreError):
    """Raised when a name, a version or an alias stands for nothing."""


@dataclass(frozen=True, slots=True)
class Saved:
    """One version of a prompt, and the aliases that point at it now."""

    prompt: str
    version: int
    digest: str
    content: dict[str, Any]
    author: str
    notes: str
    created_at: datetime
    aliases: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """What names this version for ever, e.g. ``summariser@3``."""
        return f"{self.prompt}@{self.version}"


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the sha256 of a content, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def save(
    store: Store, name: str, content: Mapping[str, Any], *, author: str, notes: str = ""
) -> Saved:
    """Save a content as the next version, from 1 without gaps, and return it.

    A content equal to the newest version's is that version: nothing is added.
    """
    _check_name("a prompt", name)
    digest = digest_of(content)
    with store.write() as session:
        store.lock(session, f"prompt {name}")
        named = insert(session, SavedPrompt).values(name=name, created_at=now())
        session.execute(named.on_conflict_do_nothing())
        newest = _newest(session, name)
        if newest is not None and newest.digest == digest:
            return described(session, newest)
        row = PromptVersion(prompt=name, version=newest.version + 1 if newest else 1)
        row.digest, row.content = digest, dict(content)
        row.author, row.notes = author, notes
        session.add(row)
        session.flush()
        return described(session, row)


def resolve(store: Store, ref: str) -> Saved:
    """Return what ``NAME@VERSION``, ``NAME@ALIAS`` or ``NAME`` (its newest version) stands for.

    Raises StoreError that names what exists, and for a version that was altered in the database.
    """
    name, _, which = ref.partition("@")
    with store.read() as session:
        row = _found(session, name, which)
        if digest_of(row.content) != row.digest:
            raise StoreError(
                f"The prompt {name}@{row.version} was altered in the database: its content is not"
                " the one that was saved. Save it again as a new version."
            )
        return described(session, row)


def _found(session: Session, name: str, which: str) -> PromptVersion:
    if not which:
        row = _newest(session, name)
    elif which.isdecimal():
        row = _version(session, name, int(which))
    else:
        alias = session.get(PromptAlias, (name, which))
        row = session.get(PromptVersion, alias.version_id) if alias and alias.version_id else None
    if row is None:
        raise NoSuchPrompt(_missing(session, name, which))
    return row


def _missing(session: Session, name: str, which: str) -> str:
    if session.get(SavedPrompt, name) is None:
        known = sorted(session.scalars(select(SavedPrompt.name)))
        return (
            f"No prompt is saved as {name!r}.{did_you_mean(name, known)}"
            f" Saved: {', '.join(known) or 'none'}. `tunesmith prompt save` adds one."
        )
    newest = _newest(session, name)
    wanted = select(PromptAlias.name).where(
        PromptAlias.prompt == name, PromptAlias.version_id.is_not(None)
    )
    aliases = sorted(session.scalars(wanted))
    return (
        f"The prompt {name} has no {'version' if which.isdecimal() else 'alias'} {which!r}."
        f"{did_you_mean(which, aliases)} It has the versions 1 to {newest.version if newest else 0}"
        f" and the aliases {', '.join(aliases) or 'none'}."
    )


def set_alias(
    store: Store,
    name: str,
    alias: str,
    version: int | None,
    *,
    actor: str,
    reason: str = "",
    expected_rev: int | None = None,
) -> int:
    """Point an alias at a version (or, with None, at nothing); return its new revision.

    With ``expected_rev`` (0 for an alias never set) it is a compare-and-swap: of all who saw the
    same revision one succeeds, the others get AliasMoved. Move and history are one transaction.
    """
    _check_name("an alias", alias)
    with store.write() as session:
        store.lock(session, f"prompt {name}")
        target = None if version is None else _found(session, name, str(version))
        if session.get(SavedPrompt, name) is None:
            raise NoSuchPrompt(_missing(session, name, ""))
        row = session.get(PromptAlias, (name, alias))
        if row is None:
            row = PromptAlias(prompt=name, name=alias, version_id=None, rev=0)
            session.add(row)
        if expected_rev is not None and row.rev != expected_rev:
            raise AliasMoved(
                f"The alias {alias!r} of the prompt {name} has moved meanwhile (revision {row.rev},"
                f" you saw {expected_rev}). Look at where it points now, then decide again."
            )
        before = session.get(PromptVersion, row.version_id) if row.version_id else None
        row.rev, row.version_id = row.rev + 1, target.id if target else None
        event = PromptAliasEvent(prompt=name, alias=alias, rev=row.rev, actor=actor, reason=reason)
        event.from_version, event.to_version = before.version if before else None, version
        session.add(event)
        return row.rev


def described(session: Session, row: PromptVersion) -> Saved:
    """Return a version's row as a plain record with its aliases."""
    aliases = session.scalars(select(PromptAlias.name).where(PromptAlias.version_id == row.id))
    return Saved(
        row.prompt,
        row.version,
        row.digest,
        row.content,
        row.author,
        row.notes,
        row.created_at,
        tuple(sorted(aliases)),
    )


def _version(session: Session, name: str, version: int) -> PromptVersion | None:
    wanted = select(PromptVersion).where(
        PromptVersion.prompt == name, PromptVersion.version == version
    )
    return session.scalar(wanted)


def _newest(session: Session, name: str) -> PromptVersion | None:
    wanted = select(PromptVersion).where(PromptVersion.prompt == name)
    return session.scalar(wanted.order_by(PromptVersion.version.desc()).limit(1))


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name) or (what == "an alias" and name.isdecimal()):
        raise StoreError(
            f"{name!r} is not a name for {what}; use small letters, digits, '.', '-' and '_'"
            " (at most 64)."
        )
