"""The command that serves models over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=_SERVE)(serve)


_SERVE = """Examples:

\b
  tunesmith serve                                the built-in nano model
  tunesmith serve summariser@production nano     an alias, and the built-in model beside it
  tunesmith serve small=models/mine-q8_0 --port 0

It speaks OpenAI's protocol: point any client at the address it says, with any key.
"""


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ALIAS|MODEL@VERSION|DIR|nano]...",
            help="What to serve [nano]. ID=NAME serves it under another id.",
        ),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8901,
    host: Annotated[
        str, typer.Option("--host", help="This machine; others follow with keys.")
    ] = "127.0.0.1",
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine", help="A name, or {name: ..., options} [one that reads the files]."
        ),
    ] = None,
) -> None:
    """Serve models over HTTP, compatible with OpenAI's clients, on this machine."""
    from tunesmith.cli.prompt_items import technique
    from tunesmith.cli.screen import say
    from tunesmith.serving import named_models, running

    wanted = technique(engine, "--engine") if engine else None
    running.serve(named_models.targets(models or ["nano"], wanted), port, host, say)
