"""Commands about saved prompts: save, list, versions, diff, alias."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.options import AsJson


def add_to(prompt: typer.Typer) -> None:
    """Add the commands to `tunesmith prompt`."""
    prompt.command("save", epilog=_SAVE)(save)
    prompt.command("list")(list_prompts)
    prompt.command("versions")(versions)
    prompt.command("diff", epilog=_DIFF)(diff)
    prompt.command("alias", epilog=_ALIAS)(alias)


_SAVE = """Examples:

\b
  tunesmith prompt save summariser --system 'Be brief.' --template 'Summarise: {question}'
  tunesmith prompt save summariser --style '{name: few_shot, shots: 2}' --shots shots.jsonl
  tunesmith prompt save summariser --from summariser@2 --sampler '{name: top_p, p: 0.9}'

A version never changes. A lifecycle uses it by
  style: {name: saved, prompt: summariser@production}
"""
_DIFF = """Example:

\b
  tunesmith prompt diff summariser@1 summariser@production
"""
_ALIAS = """Examples:

\b
  tunesmith prompt alias summariser production 3 --reason 'better on long texts'
  tunesmith prompt alias summariser production none
"""
Author = Annotated[
    str | None, typer.Option("--author", help="Who says so [the name you are logged in by].")
]


def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="PROMPT@VERSION", help="Change this one, keep the rest."),
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="The system turn.")] = None,
    template: Annotated[
        str | None, typer.Option("--template", help="The user turn, with {question} in it.")
    ] = None,
    style: Annotated[
        str | None, typer.Option("--style", help="A name, or {name: ..., options}.")
    ] = None,
    shots: Annotated[
        Path | None,
        typer.Option("--shots", help="JSON lines with question and answer, shown by the style."),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option("--sampler", help="A name, or {name: ..., options}.")
    ] = None,
    notes: Annotated[str, typer.Option("--notes", help="What is new in it.")] = "",
    alias_name: Annotated[
        str | None, typer.Option("--alias", help="Point this alias at it.")
    ] = None,
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Save a prompt as a new version; one equal to the newest version adds nothing."""
    from tunesmith.cli import prompt_saving, screen

    given = prompt_saving.Given(system, template, style, shots, sampler)
    found = prompt_saving.saved(name, start, given, author, notes, alias_name)
    if as_json:
        screen.document(prompt_saving.facts(found))
    else:
        screen.say(f"{found.ref}{prompt_saving.pointed_at(found)}")


def list_prompts(as_json: AsJson = False) -> None:
    """Show the saved prompts with their aliases."""
    from dataclasses import asdict

    from tunesmith import store as stores
    from tunesmith.cli import screen
    from tunesmith.store import queries

    rows = queries.prompts(stores.open())
    if as_json:
        screen.document([asdict(row) for row in rows])
    elif rows:
        pointing = [", ".join(f"{a.alias}: {a.version}" for a in row.aliases) for row in rows]
        cells = zip(rows, pointing, strict=True)
        screen.table(
            ("prompt", "versions", "aliases"), [(r.name, str(r.versions), a) for r, a in cells]
        )
    else:
        screen.say("No prompts are saved yet. Save one: tunesmith prompt save NAME --system ...")


def versions(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which prompt.")],
    as_json: AsJson = False,
) -> None:
    """Show every version of a prompt, newest first, with what it says."""
    from tunesmith import store as stores
    from tunesmith.cli import prompt_saving, screen
    from tunesmith.store import queries, saved_prompts

    store = stores.open()
    saved_prompts.resolve(store, name)  # says which prompts there are, where this one is not
    found = queries.prompt_versions(store, name)
    if as_json:
        screen.document([prompt_saving.facts(one) for one in found])
    else:
        prompt_saving.show(found)


def diff(
    old: Annotated[str, typer.Argument(metavar="PROMPT@VERSION")],
    new: Annotated[str, typer.Argument(metavar="PROMPT@VERSION")],
    as_json: AsJson = False,
) -> None:
    """Show what is different between two versions; an alias may stand for one."""
    from tunesmith import store as stores
    from tunesmith.cli import prompt_saving, screen
    from tunesmith.store import saved_prompts

    store = stores.open()
    before, after = saved_prompts.resolve(store, old), saved_prompts.resolve(store, new)
    if as_json:
        screen.document(prompt_saving.difference(before, after))
    else:
        prompt_saving.show_difference(before, after)


def alias(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which prompt.")],
    alias_name: Annotated[str, typer.Argument(metavar="ALIAS", help="E.g. production.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A number, or none.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it moves.")] = "",
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias of a prompt at a version; every move is kept."""
    from tunesmith.cli import prompt_saving, screen

    moved = prompt_saving.moved(name, alias_name, version, reason, author)
    if as_json:
        screen.document(moved)
    else:
        screen.say(f"{name}@{alias_name} is {moved['to'] or 'nothing'}, was {moved['from']}.")
