"""Drop rows that say something nobody should learn to say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from tunesmith import DatasetFilter, Row, hookimpl


class Example(DatasetFilter):
    """Drop every row in which one of the phrases stands, in any column and any case."""

    name = "example"
    phrases: tuple[str, ...] = ("lorem ipsum", "as an ai language model")
    """What must not be said."""

    def apply(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows without any of the phrases, unchanged and in order."""
        banned = [phrase.lower() for phrase in self.phrases]
        for row in rows:
            text = json.dumps(row, ensure_ascii=False, default=str).lower()
            if not any(phrase in text for phrase in banned):
                yield row


@hookimpl
def register_dataset_filters() -> list[type[DatasetFilter]]:
    """Offer the filter."""
    return [Example]
