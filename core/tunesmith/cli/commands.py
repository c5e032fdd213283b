"""Every command, in the order a newcomer needs them."""

from __future__ import annotations

from typing import Annotated

import typer

from tunesmith.cli import (
    configs,
    data,
    engine_commands,
    history,
    lifecycle,
    plugin_commands,
    prompt,
    proving,
    serving,
    upkeep,
)

app = typer.Typer(
    name="tunesmith",
    help="Takes a language model from data to production and round again.",
    epilog=(
        "Start here:\n\n"
        "\b\n"
        "  tunesmith init                 write a lifecycle.yaml to start from\n"
        "  tunesmith plan lifecycle.yaml  check everything, start nothing\n"
        "  tunesmith run lifecycle.yaml   go through the stages\n"
        "  tunesmith report               what came of it, as one HTML file\n"
    ),
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tunesmith {version('tunesmith')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    home: Annotated[
        str | None,
        typer.Option(
            "--home",
            metavar="FOLDER",
            help="Where runs, artifacts and labels are kept [TUNESMITH_HOME, else ~/.tunesmith].",
        ),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks [TUNESMITH_DEBUG=1].")
    ] = False,
) -> None:
    """Take a language model from data to production and round again."""


lifecycle.add_to(app)
history.add_to(app)
data.add_to(app)
prompt.add_to(app)
configs.add_to(app)
proving.add_to(app)
serving.add_to(app)
engine_commands.add_to(app)
plugin_commands.add_to(app)
upkeep.add_to(app)
