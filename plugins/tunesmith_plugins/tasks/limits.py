"""What every task asks of a row and of an answer before it scores anything."""

from __future__ import annotations

from typing import Any

from tunesmith import DataError, Row

LONGEST_ANSWER = 20_000
"""Characters; anything longer is noise or a trick and scores nothing."""


def reference(row: Row, task: str, *keys: str) -> dict[str, Any]:
    """Return the row's reference; raise DataError when it lacks one of the keys."""
    found = row.get("reference")
    name = row.get("id", "?")
    if not isinstance(found, dict):
        raise DataError(
            f"{task} needs a reference in every row it scores; row {name} has none. Map one, e.g."
            f" columns: {{reference.{keys[0]}: COLUMN}}."
        )
    lacking = [key for key in keys if found.get(key) in (None, "", [])]
    if lacking:
        raise DataError(
            f"{task} needs {', '.join(lacking)} in the reference of row {name};"
            f" it holds {', '.join(map(str, found)) or 'nothing'}."
        )
    return found


def unusable(answer: str) -> str:
    """Say why an answer cannot be worth anything, or return an empty string."""
    if not answer.strip():
        return "empty"
    return "too long" if len(answer) > LONGEST_ANSWER else ""
