"""What every technique promises, whatever its family."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from tunesmith import plugins
from tunesmith.contracts.rules import Breach, Contract, NotBuilt, Subject, plainly, shown
from tunesmith.plugin_host import explain

_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
_LONGEST_LINE = 100
_QUICK = 1.0


def can_be_built(subject: Subject) -> None:
    """Its options have defaults, or examples, that make an instance."""
    try:
        subject.build()
    except NotBuilt as error:
        raise Breach(str(error)) from error


def has_a_plain_name(subject: Subject) -> None:
    """Its name is lower-case letters, digits and underscores, as configs spell it."""
    name = subject.kind.name
    if not _NAME.fullmatch(name):
        raise Breach(
            f"is named {name!r}; use lower-case letters, digits and underscores, a letter first,"
            " e.g. 'top_a'"
        )


def has_a_free_name(subject: Subject) -> None:
    """No other installed plugin offers its name in its family."""
    for plugin, family, name in names_of_others(subject.where.distribution):
        if (family, name) == (subject.kind.family, subject.kind.name):
            raise Breach(
                f"has a name that {plugin} offers too, so that nobody can use it; choose another"
            )


@lru_cache(maxsize=4)
def names_of_others(own: str) -> tuple[tuple[str, str, str], ...]:
    """Return (plugin, family, name) of every technique that another distribution offers."""
    entries = [one for one in plugins.installed() if not (one.dist and one.dist.name == own)]
    host = plugins.load(entries, set())
    found = [(str(where), *key) for key, where in host.sources.items()]
    found += [(str(offers[0]), *key) for key, offers in host.conflicts.items()]
    return tuple(found)


def has_a_docstring(subject: Subject) -> None:
    """Its docstring begins with one line that says what it does."""
    own = vars(subject.kind).get("__doc__") or ""
    first = own.strip().partition("\n")[0]
    if not first:
        raise Breach("has no docstring; one line becomes its help text")
    if len(first) > _LONGEST_LINE:
        raise Breach(f"has a first docstring line of {len(first)} characters; say it in 100")


def explains_its_options(subject: Subject) -> None:
    """Every option has a docstring under it."""
    mute = [key for key, field in subject.kind.model_fields.items() if not field.description]
    if mute:
        raise Breach(f"does not explain its option {mute[0]!r}; put a docstring under it")


def is_frozen(subject: Subject) -> None:
    """Its instances cannot be changed."""
    made = subject.build()
    config = subject.kind.model_config
    if not config.get("frozen"):
        raise Breach("can be changed after it is built; leave `frozen=True` in its model_config")
    for key in subject.kind.model_fields:
        try:
            setattr(made, key, getattr(made, key))
        except ValidationError:
            continue
        raise Breach(f"lets its option {key!r} be changed after it is built; options are frozen")


def refuses_unknown_options(subject: Subject) -> None:
    """An option that it does not have is an error."""
    subject.build()
    try:
        subject.kind(**{**subject.options, "no_such_option": 1})
    except ValidationError as error:
        if any(one["type"] == "extra_forbidden" for one in error.errors()):
            return
    raise Breach("accepts options that it does not have; leave `extra='forbid'` in its config")


def comes_back_from_its_dict(subject: Subject) -> None:
    """Stored as JSON and built again it is the same; its defaults obey their own limits."""
    made = subject.build()
    try:
        stored = json.loads(json.dumps(made.model_dump(mode="json")))
    except (TypeError, ValueError) as error:
        raise Breach(f"cannot be stored as JSON: {error}") from error
    try:
        again = subject.kind(**stored)
    except ValidationError as error:
        raise Breach(f"refuses its own options: {explain(error, subject.kind)}") from error
    if again != made:
        raise Breach(f"is another after being stored: {shown(made)} became {shown(again)}")


def lists_its_problems(subject: Subject) -> None:
    """problems() returns a list of sentences, and none for what it was built with here."""
    found: Any = subject.build().problems()
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Breach(f"must return a list of sentences from problems(); it returned {shown(found)}")
    if found:
        raise Breach(f"refuses the options it is tried with: {found[0].rstrip('.')}")


def names_what_it_needs(subject: Subject) -> None:
    """`needs` is a tuple of module names."""
    needs: Any = subject.kind.needs
    named = isinstance(needs, tuple) and all(isinstance(one, str) for one in needs)
    if not named or not all(one.replace(".", "").isidentifier() for one in needs):
        raise Breach(f'must name modules in a tuple, `needs = ("peft",)`; it has {shown(needs)}')


def is_listed_lightly(subject: Subject) -> None:
    """Listing it imports no torch, transformers or other heavy library."""
    if subject.heavy:
        raise Breach(
            f"is in a module that imports {', '.join(subject.heavy)} when it is listed, which every"
            " command waits for; import it inside the verb"
        )


def is_registered_quickly(subject: Subject) -> None:
    """Its plugin loads within a second."""
    if subject.seconds > _QUICK:
        raise Breach(
            f"is in a plugin that takes {subject.seconds:.1f} s to load, and every command waits"
            " for it; do the work inside the verb"
        )


def has_a_source(subject: Subject) -> None:
    """Its source can be read, for it is part of the key of every result it makes."""
    try:
        plugins.source_hash(subject.kind)
    except (OSError, TypeError) as error:
        raise Breach("has no source file, so its results cannot be cached") from error


EVERY = (
    *plainly(can_be_built, has_a_plain_name),
    Contract(has_a_free_name, warm="plugins"),
    *plainly(
        has_a_docstring,
        explains_its_options,
        is_frozen,
        refuses_unknown_options,
        comes_back_from_its_dict,
        lists_its_problems,
        names_what_it_needs,
        is_listed_lightly,
        is_registered_quickly,
        has_a_source,
    ),
)
