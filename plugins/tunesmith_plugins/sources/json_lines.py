"""Rows from JSON: one object per line, or an array of objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunesmith import DatasetSource, hookimpl
from tunesmith.jsontext import records
from tunesmith_plugins.sources.file_source import FileSource


class JsonLines(FileSource):
    """Read a JSON Lines file or a JSON array (.jsonl, .json, .gz), one record at a time."""

    name = "jsonl"

    def records(self) -> Iterator[tuple[str, Any]]:
        """Yield every object with its file and line."""
        return records(self.path, self.max_line_bytes)


@hookimpl
def register_dataset_sources() -> list[type[DatasetSource]]:
    """Offer JSON files."""
    return [JsonLines]
