"""Divide rows into splits that stay put when rows are added, and describe what came out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tunesmith.errors import ConfigError, DataError, did_you_mean
from tunesmith.promises import streamed
from tunesmith.records import Row
from tunesmith.rows import content, identify, texts, type_of
from tunesmith.techniques import DatasetFilter

SPLITS: tuple[str, ...] = ("train", "validation", "prompts", "test")
_HELD_OUT: tuple[str, ...] = ("test", "validation", "prompts")
_EXAMPLES = 3
_SHOWN = 400


def filtered(
    rows: Iterable[Row], filters: Sequence[DatasetFilter]
) -> tuple[list[Row], dict[str, int]]:
    """Return the rows that pass all filters, and how many each filter dropped."""
    seen = [0] * (len(filters) + 1)
    stream = _counted(rows, seen, 0)
    for at, one in enumerate(filters, start=1):
        stream = _counted(streamed(one, "apply", one.apply(stream), dict), seen, at)
    kept = list(stream)
    drops = Counter[str]()
    for at, one in enumerate(filters):
        drops[one.name] += seen[at] - seen[at + 1]
    return kept, dict(drops)


def _counted(rows: Iterable[Row], seen: list[int], at: int) -> Iterator[Row]:
    for row in rows:
        seen[at] += 1
        yield row


def group_of(row: Row) -> str:
    """Return what must not be separated: the row's ``group``, else everything with its prompt."""
    if "group" in row:
        return f"group/{row['group']}"
    return f"prompt/{texts(row['prompt']) if 'prompt' in row else content(row)}"


def split_rows(rows: Iterable[Row], shares: Mapping[str, float], seed: int) -> dict[str, list[Row]]:
    """Return the rows by split, each with an ``id`` and its ``split``; order is kept.

    A group's split hangs on a hash of its name and the seed alone, so it never moves when other
    rows come or go. Rows that bring a ``split`` keep it, and take the rest of their group along.
    Raise DataError for a ``group`` in two splits, ConfigError for shares that make no sense.
    """
    bounds = _bounds(shares)
    named = list(identify(rows))
    brought = _brought(named)
    found: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in named:
        group = group_of(row)
        split = row.get("split") or brought.get(group) or _drawn(group, bounds, seed)
        found[split].append({**row, "split": split})
    return found


def _bounds(shares: Mapping[str, float]) -> list[tuple[float, str]]:
    """Return the upper bound of each held-out split in [0, 1]; the rest is train."""
    for name, share in shares.items():
        if name not in _HELD_OUT:
            hint = did_you_mean(name, _HELD_OUT)
            raise ConfigError(f"There is no split {name!r}.{hint} Shares: {', '.join(_HELD_OUT)}.")
        if not 0 <= share < 1:
            raise ConfigError(f"The share of {name} must be at least 0 and below 1; it is {share}.")
    total, bounds = 0.0, []
    for name in _HELD_OUT:
        total += shares.get(name, 0.0)
        bounds.append((total, name))
    if total >= 1:
        raise ConfigError(f"The shares add up to {total:g}, which leaves nothing to train on.")
    return bounds


def _brought(rows: Sequence[Row]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        if "split" not in row:
            continue
        split = row["split"]
        if split not in SPLITS:
            hint = did_you_mean(str(split), SPLITS)
            raise DataError(
                f"Row {row['id']} is in the unknown split {split!r}.{hint}"
                f" Splits: {', '.join(SPLITS)}."
            )
        before = found.setdefault(group_of(row), split)
        if before != split and "group" in row:
            raise DataError(
                f"Row {row['id']} is in {split}, but its group {row['group']!r} is also in"
                f" {before}."
            )
    return found


def _drawn(group: str, bounds: list[tuple[float, str]], seed: int) -> str:
    digest = hashlib.sha256(f"{seed}/{group}".encode()).digest()
    at = int.from_bytes(digest[:8]) / 2**64
    return next((name for bound, name in bounds if at < bound), "train")


def data_card(
    splits: Mapping[str, Sequence[Row]], drops: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return what there is to know of a data set: counts, lengths, drops and examples.

    Lengths are counts per power of two: ``{"32": 5}`` says that five rows have 32 to 63 of the
    unit. ``overlap`` counts the groups (or prompts) that stand in more than one split.
    """
    return {
        "rows": {split: len(rows) for split, rows in splits.items()},
        "tasks": {
            split: _tally(r.get("task", "none") for r in rows) for split, rows in splits.items()
        },
        "types": {split: _tally(type_of(r) for r in rows) for split, rows in splits.items()},
        "groups": {split: len({group_of(r) for r in rows}) for split, rows in splits.items()},
        "overlap": _overlap(splits),
        "lengths": {split: _lengths(rows) for split, rows in splits.items() if rows},
        "dropped": dict(drops or {}),
        "examples": {split: _examples(rows) for split, rows in splits.items() if rows},
    }


def _overlap(splits: Mapping[str, Sequence[Row]]) -> int:
    places = Counter(group for rows in splits.values() for group in {group_of(r) for r in rows})
    return sum(count > 1 for count in places.values())


def _tally(names: Iterable[Any]) -> dict[str, int]:
    return dict(sorted(Counter(str(name) for name in names).items()))


def _sides(row: Row) -> dict[str, str]:
    """Return what is read and what is written, as plain text."""
    said: dict[str, str] = {}
    for column in ("text", "prompt", "completion", "chosen", "rejected"):
        value = row.get(column)
        if isinstance(value, str):
            said[column] = value
        elif value:
            said[column] = "\n".join(message["content"] for message in value)
    return said


def _lengths(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, int]]]:
    found: dict[str, dict[str, Counter[int]]] = {}
    for row in rows:
        for column, text in _sides(row).items():
            units = found.setdefault(column, {"characters": Counter(), "words": Counter()})
            units["characters"][_bin(len(text))] += 1
            units["words"][_bin(len(text.split()))] += 1
    return {
        column: {unit: {str(k): c[k] for k in sorted(c)} for unit, c in units.items()}
        for column, units in found.items()
    }


def _bin(length: int) -> int:
    return 1 << (length.bit_length() - 1) if length else 0


def _examples(rows: Sequence[Row]) -> dict[str, list[dict[str, str]]]:
    """Return the first few rows of every task, shortened."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        shown = found.setdefault(str(row.get("task", "none")), [])
        if len(shown) < _EXAMPLES:
            said = {column: text[:_SHOWN] for column, text in _sides(row).items()}
            shown.append({"id": str(row.get("id", "")), **said})
    return found
