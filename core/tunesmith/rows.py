"""The types of training rows, named as TRL names them, and the checks every row must pass.

Inside Tunesmith rows are conversational: a prompt is a list of messages and an answer is a list
with one assistant message. Source of the types: TRL, "Dataset formats and types".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tunesmith.errors import DataError, did_you_mean
from tunesmith.records import Message, Row

COLUMNS: dict[str, tuple[str, ...]] = {
    "preference": ("prompt", "chosen", "rejected"),
    "unpaired-preference": ("prompt", "completion", "label"),
    "prompt-completion": ("prompt", "completion"),
    "prompt-only": ("prompt",),
    "language-modelling": ("text",),
}
"""What each type needs, the most demanding first."""
TYPES: tuple[str, ...] = tuple(COLUMNS)
EXTRAS: tuple[str, ...] = ("id", "task", "question", "reference", "split", "group", "style")
"""Columns that are kept beside those of the type."""
ROLES: tuple[str, ...] = ("system", "user", "assistant")
_SPELLINGS = {"language-modeling": "language-modelling", "unpaired": "unpaired-preference"}
_ANSWERS = ("completion", "chosen", "rejected")


def canonical(name: str) -> str:
    """Return a type's name as Tunesmith spells it; raise DataError when there is no such type."""
    key = name.strip().lower().replace("_", "-").replace(" ", "-")
    key = _SPELLINGS.get(key, key)
    if key not in COLUMNS:
        hint = did_you_mean(key, TYPES)
        raise DataError(f"There is no row type {name!r}.{hint} Types: {', '.join(TYPES)}.")
    return key


def type_of(row: Row) -> str | None:
    """Return the most demanding type whose columns the row has, or None."""
    return next((name for name, needed in COLUMNS.items() if all(c in row for c in needed)), None)


def to_conversational(row: Row) -> Row:
    """Return the row with plain strings turned into messages (standard -> conversational)."""
    changed = dict(row)
    if isinstance(row.get("prompt"), str):
        changed["prompt"] = [{"role": "user", "content": row["prompt"]}]
    for column in _ANSWERS:
        if isinstance(row.get(column), str):
            changed[column] = [{"role": "assistant", "content": row[column]}]
    return changed


def check_row(row: Row, place: str = "") -> None:
    """Raise DataError, with the place, when a conversational row cannot be learned from."""
    kind = type_of(row)
    where = f"{place}: " if place else ""
    if kind is None:
        raise DataError(f"{where}no row type fits the columns {', '.join(row) or '(none)'}.")
    for column in COLUMNS[kind]:
        _check_column(column, row[column], where)
    if kind == "preference" and row["chosen"] == row["rejected"]:
        raise DataError(f"{where}chosen and rejected are the same, so there is nothing to prefer.")
    _check_extras(row, where)


def _check_column(column: str, value: Any, where: str) -> None:
    if value is None:
        raise DataError(f"{where}column {column!r} is null.")
    if column == "text":
        check_text(value, column, where)
    elif column == "label":
        if not isinstance(value, bool):
            raise DataError(f"{where}column 'label' must be true or false, not {_shown(value)}.")
    else:
        _check_messages(column, value, where)


def _check_messages(column: str, messages: Any, where: str) -> None:
    if not isinstance(messages, list) or not messages:
        raise DataError(
            f"{where}column {column!r} must be a list of messages; it is {_shown(messages)}."
        )
    for at, message in enumerate(messages):
        _check_message(message, f"{column}[{at}]", where)
        if message["role"] == "system" and at:
            raise DataError(
                f"{where}{column}[{at}] is a system turn; it must come first, and once."
            )
    last = "user" if column == "prompt" else "assistant"
    if messages[-1]["role"] != last:
        raise DataError(
            f"{where}column {column!r} must end with a turn of the {last};"
            f" it ends with {messages[-1]['role']}."
        )
    if column in _ANSWERS and len(messages) != 1:
        raise DataError(
            f"{where}column {column!r} must hold one assistant turn, not {len(messages)}."
        )


def _check_message(message: Any, name: str, where: str) -> None:
    if not isinstance(message, dict) or not {"role", "content"} <= set(message):
        raise DataError(f"{where}{name} must be {{role, content}}; it is {_shown(message)}.")
    if message["role"] not in ROLES:
        hint = did_you_mean(str(message["role"]), ROLES)
        raise DataError(
            f"{where}{name} has the unknown role {_shown(message['role'])}.{hint}"
            f" Roles: {', '.join(ROLES)}."
        )
    check_text(message["content"], name, where)


def check_text(value: Any, name: str, where: str) -> None:
    """Raise DataError unless the value is text that can be stored and tokenized."""
    if value is None:
        raise DataError(f"{where}{name} is null.")
    if not isinstance(value, str):
        raise DataError(f"{where}{name} must be text; it is {_shown(value)}.")
    if not value.strip():
        raise DataError(f"{where}{name} is empty.")
    if "\0" in value:
        raise DataError(f"{where}{name} holds a NUL character.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where}{name} holds half of a surrogate pair at character {error.start}."
            ) from error


def _check_extras(row: Row, where: str) -> None:
    for column in ("id", "task", "question", "split", "group", "style"):
        if column in row:
            check_text(row[column], f"column {column!r}", where)
    if not isinstance(row.get("reference", {}), dict):
        raise DataError(
            f"{where}column 'reference' must be an object; it is {_shown(row['reference'])}."
        )


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def content(row: Row) -> str:
    """Return what the model would see of a row as one string, for hashing and counting."""
    parts = [texts(row[c]) for c in ("text", "prompt", *_ANSWERS) if c in row]
    return "\x1e".join([*parts, str(row["label"])] if "label" in row else parts)


def texts(value: str | Sequence[Message]) -> str:
    """Return a text column as it is and messages with their roles, one string."""
    if isinstance(value, str):
        return value
    return "\x1f".join(f"{message['role']}: {message['content']}" for message in value)


def identify(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield every row with an ``id``, made from its content where it brought none.

    Raise DataError when two rows bring the same id. Equal rows without ids get different ones.
    """
    seen: dict[str, int] = {}
    for row in rows:
        own = "id" in row
        name = row["id"] if own else hashlib.sha256(content(row).encode()).hexdigest()[:16]
        count = seen[name] = seen.get(name, 0) + 1
        if own and count > 1:
            raise DataError(
                f"Two rows have the id {name!r}; ids must be unique across all sources."
            )
        yield row if own else {**row, "id": name if count == 1 else f"{name}-{count}"}


def require(rows: Sequence[Row], wanted: str, stage: str) -> None:
    """Raise DataError unless there are rows and each can serve as the wanted type."""
    kind = canonical(wanted)
    if not rows:
        raise DataError(f"{stage} needs {kind} rows, but there are none.")
    for at, row in enumerate(rows):
        lacking = [column for column in COLUMNS[kind] if column not in row]
        if lacking:
            name = f"row {at + 1}" + (f" (id {row['id']})" if "id" in row else "")
            raise DataError(
                f"{stage} needs {kind} rows ({', '.join(COLUMNS[kind])}), but {name} is"
                f" {type_of(row) or 'of no known type'}: it lacks {', '.join(lacking)}."
                " Choose a source of that type, or map its columns with `columns`."
            )
