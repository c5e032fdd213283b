"""Commands that keep an installation in order: db, doctor, env, gc."""

from __future__ import annotations

from typing import Annotated

import typer

from tunesmith.cli.options import AsJson


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    db = typer.Typer(help="The database.", no_args_is_help=True, rich_markup_mode=None)
    db.command("upgrade")(upgrade)
    db.command("status")(status)
    app.add_typer(db, name="db")
    app.command()(doctor)
    app.command()(env)
    app.command(epilog=_GC)(gc)


_GC = """Examples:

\b
  tunesmith gc --dry-run           what would go
  tunesmith gc --yes               delete it without asking
  tunesmith gc --unfinished        also what failed and stopped runs would go on with

Kept is what registered models and unfinished runs were made from, and whatever was stored in the
last ten minutes. Runs, labels and lineage always stay.
"""


def upgrade(as_json: AsJson = False) -> None:
    """Bring the database to this version; a copy is made first."""
    from tunesmith import store
    from tunesmith.cli import screen

    done = store.upgrade()
    if as_json:
        screen.document({"before": done.before, "after": done.after, "copy": done.copy})
    elif done.before == done.after:
        screen.say(f"The database is at revision {done.after} already.")
    else:
        screen.say(f"Upgraded from {done.before or 'nothing'} to {done.after}.")
        if done.copy:
            screen.say(f"The copy made before: {done.copy}")


def status(as_json: AsJson = False) -> None:
    """Say where the database is, and whether this version can use it."""
    from tunesmith.cli import health, screen

    found = health.database()
    if as_json:
        screen.document(found)
    else:
        screen.say("\n".join(f"{key}: {value}" for key, value in found.items()))
    if found["problem"]:
        raise typer.Exit(1)


def doctor(as_json: AsJson = False) -> None:
    """Check that this installation can work; exit code 1 if it cannot."""
    from tunesmith.cli import health, screen

    checks = health.checks()
    if as_json:
        screen.document([check.as_json() for check in checks])
    else:
        health.show(checks)
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(1)


def env(as_json: AsJson = False) -> None:
    """Print what a bug report needs; no names of people or secrets."""
    from tunesmith.cli import health, screen

    facts = health.environment()
    if as_json:
        screen.document(facts)
    else:
        screen.say("\n".join(health.lines(facts)))


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also what unfinished runs would go on with.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete artifacts and checkpoints that nothing needs any more."""
    from tunesmith import store as stores
    from tunesmith.cli import cleaning, screen

    store = stores.open()
    stores.reconcile(store)
    waste = cleaning.waste(store, unfinished=unfinished)
    if not dry_run and waste and not as_json:
        cleaning.show(waste)
    sure = dry_run or yes or not waste or cleaning.confirmed(waste, as_json=as_json)
    if not sure:
        raise typer.Exit(1)
    if not dry_run:
        waste = cleaning.clean(store, unfinished=unfinished)
    if as_json:
        screen.document({"deleted": not dry_run, "waste": [one.as_json() for one in waste]})
    else:
        cleaning.tell(waste, dry_run=dry_run)
