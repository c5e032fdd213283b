"""Commands that take a model through its life: init, plan, run, resume, schedule, dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli.options import AsJson, File, Overrides, Until


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog=_INIT)(init)
    app.command(epilog=_PLAN)(plan)
    app.command(epilog=_RUN)(run)
    app.command(epilog=_RESUME)(resume)
    app.command(epilog=_SCHEDULE)(schedule)
    app.command()(dashboard)


_INIT = """Examples:

\b
  tunesmith init                          the whole lifecycle on the built-in nano model
  tunesmith init demo --data rows.jsonl   fine-tune on your own rows
  tunesmith init --model models/llama     start from a model folder
"""
_PLAN = """Examples:

\b
  tunesmith plan lifecycle.yaml
  tunesmith plan lifecycle.yaml --until tune --set tune.method.epochs=2
"""
_RUN = """Examples:

\b
  tunesmith run lifecycle.yaml
  tunesmith run lifecycle.yaml --until tune
  tunesmith run lifecycle.yaml --set align.method.beta=0.2
  tunesmith run lifecycle.yaml --set data.sources='[{name: jsonl, path: rows.jsonl}]'

A stage whose inputs, options and code are those of an earlier run is not run again. Ctrl-C stops
at the next checkpoint; `tunesmith resume` goes on from there. Exit code 3: it waits for people.
"""
_RESUME = """Examples:

\b
  tunesmith resume                   the newest run that has not come to its end
  tunesmith resume nano-demo-0001
"""
_SCHEDULE = """Example, every night at two o'clock:

\b
  tunesmith schedule lifecycle.yaml --cron '0 2 * * *'
"""


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write lifecycle.yaml.")
    ] = Path(),
    model: Annotated[
        str, typer.Option("--model", help="builtin:nano, a folder, or a Hub id.")
    ] = "builtin:nano",
    data: Annotated[
        Path | None, typer.Option("--data", help="Your rows: .jsonl, .json, .csv, .tsv or .txt.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented lifecycle.yaml to start from."""
    from tunesmith.cli.screen import say
    from tunesmith.cli.starting import write_start

    path = write_start(folder, model, data, force=force)
    say(f"Wrote {path}. Next: tunesmith plan {path}")


def plan(
    file: File, overrides: Overrides = None, until: Until = None, as_json: AsJson = False
) -> None:
    """Check everything a run needs, and show what it would do; nothing is started."""
    from tunesmith import preflight
    from tunesmith import store as stores
    from tunesmith.cli.planning import show
    from tunesmith.cli.screen import document
    from tunesmith.config import load_config

    config = load_config(file, overrides or [])
    found = preflight.plan(config, stores.open(), until=until)
    if as_json:
        document(found.as_json())
    else:
        show(found)
    if found.problems:
        raise typer.Exit(2)


def run(
    file: File, overrides: Overrides = None, until: Until = None, as_json: AsJson = False
) -> None:
    """Go through the stages of a lifecycle."""
    from tunesmith.cli.apps import app
    from tunesmith.config import load_config

    config = load_config(file, overrides or [])
    _go(app("run"), as_json, config, until=until)


def resume(
    run_id: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="By default the newest run that has not ended well."),
    ] = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that waits, was stopped, failed, or whose process died."""
    from tunesmith.cli.apps import app
    from tunesmith.cli.finding import unfinished
    from tunesmith.config import check_config

    found = unfinished(run_id)
    config = check_config(found.config, f"the config stored with {found.id}")
    _go(app("run"), as_json, config, until=until, run_id=found.id)


def _go(launch: Any, as_json: bool, *config: Any, **options: Any) -> None:
    """Start or go on, and turn the run's status into an exit code."""
    import os

    from tunesmith.cli import boundary
    from tunesmith.cli.screen import console, document, kept_for_json

    debug = bool(os.environ.get(boundary.DEBUG))
    with kept_for_json(as_json):
        report = launch(*config, **options, console=console(stderr=as_json), debug=debug)
    if as_json:
        document(report)
    codes = {"WAITING": boundary.WAITING, "STOPPED": boundary.INTERRUPTED}
    if code := codes.get(report["status"]):
        raise typer.Exit(code)


def schedule(
    file: File,
    cron: Annotated[str, typer.Option("--cron", help="When, as five cron fields.")],
    overrides: Overrides = None,
    until: Until = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The schedule's name; by default the config's.")
    ] = None,
) -> None:
    """Run a lifecycle by the clock until Ctrl-C; what has not changed is not run again."""
    from tunesmith.cli.apps import app
    from tunesmith.cli.screen import console
    from tunesmith.config import load_config

    load_config(file, overrides or [])
    launch = app("schedule")
    launch(
        file, cron=cron, until=until, overrides=tuple(overrides or ()), name=name, console=console()
    )


def dashboard(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8501,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Look at runs and label answers in the browser, on this machine."""
    from tunesmith import settings
    from tunesmith.cli.apps import app

    raise typer.Exit(int(app("dashboard")(port, settings.home(), open_browser=open_browser) or 0))
