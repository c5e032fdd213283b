"""What every source that reads a file has in common: the options, the checks, the skipping."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tunesmith import DataError, DatasetSource, Row
from tunesmith.shapes import convert
from tunesmith.textfile import MAX_LINE_BYTES, problems, sha256

log = logging.getLogger("tunesmith.sources")
_PEEK = 20


class FileSource(DatasetSource):
    """Rows from one file."""

    path: Path = Field(examples=[Path("rows.jsonl")])
    """The file; a name that ends in .gz is unpacked while it is read."""
    columns: dict[str, str] = {}
    """Which column is which: {prompt: question, completion: answer, reference.answer: answer}.
    A value may also be a path into nested values (turns.0) or a template (Translate: {english})."""
    limit: int | None = Field(default=None, ge=1)
    """Read at most this many rows."""
    task: str | None = None
    """The task these rows belong to, where they do not say it themselves."""
    split: Literal["train", "validation", "prompts", "test"] | None = None
    """The split these rows belong to, where they do not say it themselves."""
    bad_rows: Literal["error", "skip"] = "error"
    """Whether a row that cannot be used ends the reading or is left out with a warning."""
    max_line_bytes: int = Field(default=MAX_LINE_BYTES, ge=1024)
    """The longest line accepted, in bytes."""

    def records(self) -> Iterator[tuple[str, Any]]:
        """Yield ``(place, record)``; a record that could not be parsed is the DataError itself."""
        raise NotImplementedError

    def rows(self) -> Iterator[Row]:
        """Yield checked conversational rows; raise DataError naming file and line of a bad one."""
        given, skipped, first = 0, 0, ""
        for row, error in self._tried():
            if row is not None:
                given += 1
                yield row
            elif self.bad_rows == "error" and error:
                raise _advised(error, given)
            else:
                skipped, first = skipped + 1, first or str(error)
            if given == self.limit:
                break
        if not given:
            reason = f" The first: {first}" if first else ""
            raise DataError(f"{self.path} holds no usable row.{reason}")
        if skipped:
            log.warning("%s: %d rows left out; the first: %s", self.path, skipped, first)

    def _tried(self) -> Iterator[tuple[Row | None, DataError | None]]:
        seen: set[bytes] = set()
        for place, record in self.records():
            try:
                row = self._row(place, record)
                self._check_id(row, place, seen)
            except DataError as error:
                yield None, error
            else:
                yield row, None

    def _row(self, place: str, record: Any) -> Row:
        if isinstance(record, DataError):
            raise record
        if not isinstance(record, Mapping):
            raise DataError(f"{place}: a row must be an object, not {type(record).__name__}.")
        row = convert(record, place, self.columns)
        defaults = {"task": self.task, "split": self.split}
        return {name: value for name, value in defaults.items() if value is not None} | row

    def _check_id(self, row: Row, place: str, seen: set[bytes]) -> None:
        if "id" not in row:
            return
        key = hashlib.blake2b(row["id"].encode(), digest_size=12).digest()
        if key in seen:
            raise DataError(f"{place}: the id {row['id']!r} was there before; ids must be unique.")
        seen.add(key)

    def fingerprint(self) -> str:
        """Return the sha256 of the file."""
        return sha256(self.path)

    def problems(self) -> list[str]:
        """Look at the file itself, then at its first rows."""
        found = problems(self.path)
        if found:
            return found
        try:
            for row, error in islice(self._tried(), _PEEK):
                if row is None and self.bad_rows == "error":
                    return [str(error)]
        except DataError as error:
            return [str(error)]
        return []


def _advised(error: DataError, given: int) -> DataError:
    """Return the error with the way out that helps when other rows were good."""
    return DataError(f"{error} To leave such rows out, set bad_rows: skip.") if given else error
