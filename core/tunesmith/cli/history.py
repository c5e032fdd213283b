"""Commands that look back: runs, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.options import AsJson, RunId


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    runs = typer.Typer(help="The history of runs.", no_args_is_help=True, rich_markup_mode=None)
    runs.command("list")(list_runs)
    runs.command("show", epilog=_SHOW)(show_run)
    app.add_typer(runs, name="runs")
    app.command(epilog=_REPORT)(report)


_SHOW = """Examples:

\b
  tunesmith runs show                         the newest run
  tunesmith runs show nano-demo-0001 --json   its stages, artifacts and whole config
"""
_REPORT = """Examples:

\b
  tunesmith report                                 the newest run
  tunesmith report nano-demo-0001 --out demo.html
  tunesmith report --json                          the same numbers for a program
"""


def list_runs(
    name: Annotated[str | None, typer.Option("--name", help="Only runs of this name.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only runs in this status, e.g. WAITING.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the runs, newest first."""
    from tunesmith import store as stores
    from tunesmith.cli import past, screen
    from tunesmith.store import queries

    store = stores.open()
    stores.reconcile(store)
    wanted = past.checked_status(status)
    rows = queries.runs(store, name=name, status=wanted, limit=limit)
    if as_json:
        screen.document([past.run_facts(row) for row in rows])
    elif rows:
        past.show_runs(rows)
    else:
        screen.say("No runs yet. Start one: tunesmith run lifecycle.yaml")


def show_run(run_id: RunId = None, as_json: AsJson = False) -> None:
    """Show one run: its stages, what they made, and why it ended."""
    from tunesmith import store as stores
    from tunesmith.cli import past, screen
    from tunesmith.cli.finding import chosen
    from tunesmith.store import queries

    store = stores.open()
    stores.reconcile(store)
    found = queries.run(store, chosen(store, run_id))
    stages = queries.stages(store, found.id)
    if as_json:
        screen.document(past.whole_run(found, stages))
    else:
        past.show_run(found, stages)


def report(
    run_id: RunId = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file [report-RUN.html in this folder].")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's report: one HTML file that needs nothing else."""
    from tunesmith import report as reports
    from tunesmith import store as stores
    from tunesmith.cli import screen
    from tunesmith.cli.finding import chosen

    store = stores.open()
    run = chosen(store, run_id)
    if as_json:
        screen.document(reports.summary(store, run))
        return
    path = reports.write_report(store, run, out or Path(f"report-{run}.html"))
    screen.say(f"Wrote {path} ({screen.size(path.stat().st_size)}).")
    if open_it:
        typer.launch(str(path))
