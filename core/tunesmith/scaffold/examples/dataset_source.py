"""Rows that are counted out: what comes after a number."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from tunesmith import DatasetSource, Row, hookimpl


class Example(DatasetSource):
    """Ask what comes after each number, from 0 on."""

    name = "example"
    count: int = Field(default=100, ge=1)
    """How many rows there are."""

    def rows(self) -> Iterator[Row]:
        """Yield prompt-completion rows."""
        for number in range(self.count):
            yield {
                "id": f"count-{number}",
                "prompt": [{"role": "user", "content": f"What comes after {number}?"}],
                "completion": [{"role": "assistant", "content": f"{number + 1}"}],
            }


@hookimpl
def register_dataset_sources() -> list[type[DatasetSource]]:
    """Offer the source."""
    return [Example]
