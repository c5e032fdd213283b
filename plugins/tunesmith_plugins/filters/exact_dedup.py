"""Drop rows that say exactly what an earlier one said."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from typing import Literal

from tunesmith import DatasetFilter, Row, hookimpl
from tunesmith.rows import content, texts

_FREE = 0


class Seen:
    """A set of 128-bit hashes, 16 bytes each, in an open-addressing table two thirds full."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(16 * 1024))
        self._used = 0

    def add(self, text: str) -> bool:
        """Remember a text; return whether it is new."""
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        high = int.from_bytes(digest[:8]) or 1  # 0 marks a free slot
        if not self._insert(high, int.from_bytes(digest[8:])):
            return False
        self._used += 1
        if 3 * self._used > len(self._slots):  # two cells a slot
            self._grow()
        return True

    def _insert(self, high: int, low: int) -> bool:
        slots, mask = self._slots, len(self._slots) // 2 - 1
        at = low & mask
        while slots[2 * at] != _FREE:
            if slots[2 * at] == high and slots[2 * at + 1] == low:
                return False
            at = (at + 1) & mask
        slots[2 * at], slots[2 * at + 1] = high, low
        return True

    def _grow(self) -> None:
        old, self._slots = self._slots, array("Q", bytes(16 * len(self._slots)))
        for at in range(0, len(old), 2):
            if old[at] != _FREE:
                self._insert(old[at], old[at + 1])


class ExactDedup(DatasetFilter):
    """Keep the first of rows with the same content; ids and other extra columns do not count."""

    name = "exact_dedup"
    by: Literal["row", "prompt"] = "row"
    """What must differ: the whole row, or its prompt (so that no question comes twice)."""

    def apply(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows that say something new."""
        seen = Seen()
        for row in rows:
            if seen.add(self._key(row)):
                yield row

    def _key(self, row: Row) -> str:
        return texts(row["prompt"]) if self.by == "prompt" and "prompt" in row else content(row)


@hookimpl
def register_dataset_filters() -> list[type[DatasetFilter]]:
    """Offer exact deduplication."""
    return [ExactDedup]
