"""The ``columns`` option of file sources: which column of a file is which column of a row.

A target is a row's column (``prompt``) or a key inside one (``reference.answer``). A source is a
column (``q``), a path into nested values (``turns.0``, ``prompt.text``), or a template that fills
in columns (``Translate into French: {english}``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tunesmith.errors import DataError, did_you_mean
from tunesmith.records import Row
from tunesmith.rows import EXTRAS

_FIELD = re.compile(r"\{([^{}]+)\}")


def mapped(record: Mapping[str, Any], columns: Mapping[str, str], place: str = "") -> Row:
    """Return the mapped columns and, untouched, the known extra columns of a record."""
    row: Row = {name: record[name] for name in EXTRAS if name in record}
    for target, source in columns.items():
        head, _, inner = target.partition(".")
        value = _value(record, source, place)
        if inner:
            held = row.get(head) if isinstance(row.get(head), dict) else {}
            row[head] = {**(held or {}), inner: value}
        else:
            row[head] = value
    return row


def _value(record: Mapping[str, Any], source: str, place: str) -> Any:
    if source in record:
        return record[source]
    if _FIELD.search(source):
        return _FIELD.sub(lambda found: _filled(record, found[1], place), source)
    return _inside(record, source, place)


def _filled(record: Mapping[str, Any], name: str, place: str) -> str:
    value = _value(record, name, place)
    if value is None or isinstance(value, dict | list):
        kind = type(value).__name__
        raise DataError(f"{place}: column {name!r} is {kind}, so no template can use it.")
    return str(value)


def _inside(record: Mapping[str, Any], path: str, place: str) -> Any:
    value: Any = record
    for step in path.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            names = [str(name) for name in record]
            raise DataError(
                f"{place}: there is no column {path!r}.{did_you_mean(path, names)}"
                f" Columns: {', '.join(names)}.".removeprefix(": ")
            )
    return value
