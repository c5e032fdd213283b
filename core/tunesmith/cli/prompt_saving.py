"""What the commands about saved prompts do, and how they show it."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from tunesmith import store as stores
from tunesmith.cli.prompt_items import technique
from tunesmith.cli.screen import console, say
from tunesmith.errors import ConfigError
from tunesmith.saved_prompts import content_of
from tunesmith.store import Store, queries, saved_prompts
from tunesmith.store.saved_prompts import Saved

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(frozen=True, slots=True)
class Given:
    """The options of `tunesmith prompt save`; None keeps what was, or the default."""

    system: str | None
    template: str | None
    style: str | None
    shots: Path | None
    sampler: str | None

    def options(self) -> dict[str, Any]:
        """Return what was given, as a saved prompt has it."""
        found: dict[str, Any] = {"system": self.system, "template": self.template}
        if self.style is not None:
            found["style"] = technique(self.style, "--style")
        if self.sampler is not None:
            found["sampler"] = technique(self.sampler, "--sampler")
        if self.shots is not None:
            found["shots"] = read_shots(self.shots)
        return {key: value for key, value in found.items() if value is not None}


def read_shots(path: Path) -> list[dict[str, str]]:
    """Return the solved questions of a file of JSON lines; ConfigError names a bad line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--shots {path} cannot be read: {error}.") from error
    return [_shot(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _shot(path: Path, number: int, line: str) -> dict[str, str]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"--shots {path}, line {number} is not JSON: {error}.") from error
    if not isinstance(found, dict) or set(found) != {"question", "answer"}:
        raise ConfigError(
            f"--shots {path}, line {number} must have the keys question and answer, both texts,"
            f" and nothing else; got {line[:80]}."
        )
    return found


def saved(
    name: str,
    start: str | None,
    given: Given,
    author: str | None,
    notes: str,
    alias: str | None,
) -> Saved:
    """Save a version, and point an alias at it where one is named."""
    store = stores.open()
    begun = dict(saved_prompts.resolve(store, start).content) if start else {}
    options = given.options()
    if not begun and not options:
        raise ConfigError(
            "There is nothing to save. Give --system, --template, --style or --shots."
        )
    who = author or _who()
    found = saved_prompts.save(
        store, name, content_of({**begun, **options}), author=who, notes=notes
    )
    if alias is None:
        return found
    saved_prompts.set_alias(store, name, alias, found.version, actor=who, reason=notes)
    return saved_prompts.resolve(store, found.ref)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a user id without a name, as in some containers
        raise ConfigError("This user has no name here; say who you are with --author.") from error


def moved(name: str, alias: str, version: str, reason: str, author: str | None) -> dict[str, Any]:
    """Move an alias, unless somebody else does so meanwhile; return from where to where."""
    if version != "none" and not version.isdecimal():
        raise ConfigError(
            f"A version is a number, or none to take the alias away; got {version!r}."
        )
    store, to = stores.open(), None if version == "none" else int(version)
    before = _at(store, name, alias)
    rev = saved_prompts.set_alias(
        store,
        name,
        alias,
        to,
        actor=author or _who(),
        reason=reason,
        expected_rev=before.rev if before else 0,
    )
    return {"prompt": name, "alias": alias, "from": before and before.version, "to": to, "rev": rev}


def _at(store: Store, name: str, alias: str) -> queries.AliasRow | None:
    known = {row.alias: row for row in queries.prompt_aliases(store, name)}
    return known.get(alias)


def facts(one: Saved) -> dict[str, Any]:
    """Return a version as JSON."""
    return {"ref": one.ref, **asdict(one)}


def pointed_at(one: Saved) -> str:
    """Return the aliases of a version, for the end of a line."""
    return f"  ({', '.join(one.aliases)})" if one.aliases else ""


def as_yaml(content: dict[str, Any]) -> str:
    """Return a content as people read it; what is empty is left out."""
    import yaml

    kept = {key: value for key, value in content.items() if value not in ("", None, [], {})}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=100)


def show(found: Sequence[Saved]) -> None:
    """Write versions with what they say."""
    for one in found:
        say(f"{one.ref}{pointed_at(one)}  {one.created_at:%Y-%m-%d %H:%M} by {one.author}")
        if one.notes:
            say(one.notes)
        say(as_yaml(one.content))


def difference(before: Saved, after: Saved) -> dict[str, Any]:
    """Return what is different, as JSON."""
    changed = [key for key in after.content if after.content[key] != before.content.get(key)]
    return {
        "from": before.ref,
        "to": after.ref,
        "changed": changed,
        "diff": unified(before, after),
    }


def unified(before: Saved, after: Saved) -> list[str]:
    """Return the lines of a unified diff of two versions."""
    from difflib import unified_diff

    old, new = (as_yaml(one.content).splitlines() for one in (before, after))
    return list(unified_diff(old, new, before.ref, after.ref, lineterm=""))


def show_difference(before: Saved, after: Saved) -> None:
    """Write what is different in colours."""
    lines = unified(before, after)
    for line in lines:
        console().print(Text(line, style=_COLOURS.get(line[:1], "")), soft_wrap=True)
    if not lines:
        say(f"{before.ref} and {after.ref} say the same.")
