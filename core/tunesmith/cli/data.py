"""Commands about data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.options import AsJson, Overrides


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    data = typer.Typer(help="What the model will see.", no_args_is_help=True, rich_markup_mode=None)
    data.command("show", epilog=_SHOW)(show)
    app.add_typer(data, name="data")


_SHOW = """Examples:

\b
  tunesmith data show lifecycle.yaml
  tunesmith data show rows.jsonl --model models/llama --rows 3

Text that is learnt is green; text that is only given is dim.
"""


def show(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A lifecycle's YAML file, or a file of rows.")
    ],
    overrides: Overrides = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Whose template and tokens; default: the config's."),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows.")] = 3,
    split: Annotated[str, typer.Option("--split", help="Of which split.")] = "train",
    as_json: AsJson = False,
) -> None:
    """Show rows exactly as the model will see them, and which tokens it learns from."""
    from tunesmith.cli import screen, seen

    found = seen.rendered(file, overrides or [], model, rows, split)
    if as_json:
        screen.document(found)
    else:
        seen.show(found)
