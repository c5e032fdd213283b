"""Drop rows that are too short or too long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field

from tunesmith import DatasetFilter, Row, hookimpl


class Length(DatasetFilter):
    """Keep rows whose texts have the right number of characters."""

    name = "length"
    min_prompt: int = Field(default=1, ge=0)
    """Fewest characters in a prompt, all its turns together."""
    max_prompt: int | None = Field(default=None, ge=1)
    """Most characters in a prompt."""
    min_answer: int = Field(default=1, ge=0)
    """Fewest characters in a completion, and in both sides of a preference."""
    max_answer: int | None = Field(default=None, ge=1)
    """Most characters in a completion, and in both sides of a preference."""
    min_text: int = Field(default=1, ge=0)
    """Fewest characters in a document."""
    max_text: int | None = Field(default=None, ge=1)
    """Most characters in a document."""

    def problems(self) -> list[str]:
        """Refuse limits that no row can meet."""
        pairs = {side: self._limits(side) for side in ("prompt", "answer", "text")}
        return [
            f"length keeps nothing: min_{side} {low} is above max_{side} {high}."
            for side, (low, high) in pairs.items()
            if high is not None and low > high
        ]

    def apply(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows of which every text fits."""
        sides = {"text": "text", "prompt": "prompt"}
        for row in rows:
            columns = [
                c for c in ("text", "prompt", "completion", "chosen", "rejected") if c in row
            ]
            if all(self._fits(sides.get(column, "answer"), row[column]) for column in columns):
                yield row

    def _limits(self, side: str) -> tuple[int, int | None]:
        return getattr(self, f"min_{side}"), getattr(self, f"max_{side}")

    def _fits(self, side: str, value: Any) -> bool:
        low, high = self._limits(side)
        size = len(value) if isinstance(value, str) else sum(len(m["content"]) for m in value)
        return low <= size and (high is None or size <= high)


@hookimpl
def register_dataset_filters() -> list[type[DatasetFilter]]:
    """Offer the length filter."""
    return [Length]
