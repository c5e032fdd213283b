"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(metavar="FILE", help="The lifecycle's YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key; dotted, with a YAML value. May be repeated.",
    ),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="STAGE", help="End after this stage.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON document and nothing else.")]
RunId = Annotated[
    str | None, typer.Argument(metavar="RUN", help="The run's id; by default the newest.")
]
