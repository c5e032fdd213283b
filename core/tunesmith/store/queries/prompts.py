"""Questions about saved prompts."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from tunesmith.store.database import Store
from tunesmith.store.models import PromptAlias, PromptAliasEvent, PromptVersion, SavedPrompt
from tunesmith.store.queries.results import AliasEventRow, AliasRow
from tunesmith.store.saved_prompts import Saved, described


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A saved prompt: how many versions it has, and where its aliases point."""

    name: str
    versions: int
    aliases: list[AliasRow]


def prompts(store: Store) -> list[PromptRow]:
    """Return the saved prompts, by name."""
    newest = (
        select(SavedPrompt.name, func.coalesce(func.max(PromptVersion.version), 0))
        .outerjoin(PromptVersion, PromptVersion.prompt == SavedPrompt.name)
        .group_by(SavedPrompt.name)
        .order_by(SavedPrompt.name)
    )
    with store.read() as session:
        counted = [(str(name), int(count)) for name, count in session.execute(newest)]
    return [PromptRow(name, count, prompt_aliases(store, name)) for name, count in counted]


def prompt_versions(store: Store, name: str) -> list[Saved]:
    """Return a prompt's versions, newest first; empty where there is no such prompt."""
    wanted = select(PromptVersion).where(PromptVersion.prompt == name)
    with store.read() as session:
        found = session.scalars(wanted.order_by(PromptVersion.version.desc()))
        return [described(session, row) for row in found]


def prompt_aliases(store: Store, name: str) -> list[AliasRow]:
    """Return where a prompt's aliases point."""
    wanted = (
        select(PromptAlias.name, PromptVersion.version, PromptAlias.rev)
        .outerjoin(PromptVersion, PromptVersion.id == PromptAlias.version_id)
        .where(PromptAlias.prompt == name)
        .order_by(PromptAlias.name)
    )
    with store.read() as session:
        return [AliasRow(*row) for row in session.execute(wanted)]


def prompt_alias_history(store: Store, name: str) -> list[AliasEventRow]:
    """Return the moves of a prompt's aliases, newest first."""
    wanted = select(PromptAliasEvent).where(PromptAliasEvent.prompt == name)
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
            for one in session.scalars(wanted.order_by(PromptAliasEvent.id.desc()))
        ]
