"""What commands write: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {
    "COMPLETED": "green",
    "RUNNING": "cyan",
    "WAITING": "yellow",
    "STOPPED": "yellow",
    "FAILED": "red",
    "CRASHED": "red",
}
"""The colour of a run's or stage's status."""


def console(*, stderr: bool = False) -> Console:
    """Return where people read; not wider than a page where nobody's terminal says so."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 120
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def say(text: str = "") -> None:
    """Write a line; brackets in it are text, not markup."""
    console().print(text, markup=False, soft_wrap=True)


def document(value: Any) -> None:
    """Write one JSON document and nothing else."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    sys.stdout.write(text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset | tuple):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Write rows under headings; a status is coloured."""
    from rich.table import Table
    from rich.text import Text

    made = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in made.columns:
        column.overflow = "fold"
    for row in rows:
        made.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    console().print(made)


def ago(seconds: float) -> str:
    """Return a duration in the two largest units, e.g. ``2 min 5 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(count: float) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextmanager
def kept_for_json(wanted: bool) -> Iterator[None]:
    """Send everything written to stdout to stderr meanwhile, that of libraries and children too."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)
