"""Rows from tables: comma, semicolon or tab separated values."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from tunesmith import DataError, DatasetSource, Row, hookimpl
from tunesmith.shapes import UnknownShapeError
from tunesmith.textfile import lines
from tunesmith_plugins.sources.file_source import FileSource

_DELIMITERS = (",", ";", "|")


class Table(FileSource):
    """Read a CSV or TSV file (.csv, .tsv, .gz); every cell is text."""

    name = "table"
    path: Path = Field(examples=[Path("rows.csv")])
    """The file; a name that ends in .gz is unpacked while it is read."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """What separates cells; by default a tab if the first line has one, else the most frequent of
    comma, semicolon and vertical bar."""
    header: bool | tuple[str, ...] = True
    """Whether the first line names the columns; or the names themselves, for a file without them.
    Without names the columns are called 1, 2, 3."""
    quotes: bool | None = None
    """Whether cells may stand in double quotes; by default yes, except between tabs."""

    def records(self) -> Iterator[tuple[str, Any]]:
        """Yield every line as a record with its file and line."""
        first = next(lines(self.path, self.max_line_bytes), None)
        if first is None:
            raise DataError(f"{self.path} is empty.")
        delimiter = self.delimiter or _guessed(first[1])
        cells = self._cells(delimiter)
        names = list(self.header) if isinstance(self.header, tuple) else None
        for place, row in cells:
            if names is None:
                names = _names(row, place) if self.header else [str(n + 1) for n in range(len(row))]
                if self.header:
                    continue
            yield place, _record(names, row, place)

    def _row(self, place: str, record: Any) -> Row:
        try:
            return super()._row(place, record)
        except UnknownShapeError as error:
            if self.header is not True:
                raise
            raise UnknownShapeError(
                f"{error} If the first line names no columns, name them:"
                " header: [prompt, completion]."
            ) from error

    def _cells(self, delimiter: str) -> Iterator[tuple[str, list[str]]]:
        quoted = delimiter != "\t" if self.quotes is None else self.quotes
        # The limit is the process's own and starts at 128 KiB, too little for a document.
        csv.field_size_limit(max(csv.field_size_limit(), self.max_line_bytes))
        text = (line + "\n" for _, line in lines(self.path, self.max_line_bytes))
        style = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reader = csv.reader(text, delimiter=delimiter, quoting=style, strict=True)
        begin = 1
        try:
            for row in reader:
                if row:
                    yield f"{self.path}:{begin}", row
                begin = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{self.path}:{begin}: {error}. Is a quotation mark open? Where they are part of"
                " the text, set quotes: false."
            ) from error


def _guessed(line: str) -> str:
    """Return a tab if there is one, since prose holds none, else the most frequent mark."""
    return "\t" if "\t" in line else max(_DELIMITERS, key=line.count)


def _names(row: list[str], place: str) -> list[str]:
    names = [cell.strip() for cell in row]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or "" in names:
        what = f"the column {twice[0]!r} twice" if twice and twice[0] else "a column without a name"
        raise DataError(
            f"{place}: the header has {what}. Name the columns yourself, for example"
            " header: [question, answer]."
        )
    return names


def _record(names: list[str], row: list[str], place: str) -> Any:
    """Return a line as a record, or the DataError that it deserves."""
    if len(row) != len(names):
        return DataError(
            f"{place}: there are {len(row)} cells, but {len(names)} columns ({', '.join(names)})."
        )
    return dict(zip(names, row, strict=True))


@hookimpl
def register_dataset_sources() -> list[type[DatasetSource]]:
    """Offer tables."""
    return [Table]
