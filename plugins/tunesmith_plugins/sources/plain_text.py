"""Language-modelling rows from plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from tunesmith import DataError, DatasetSource, hookimpl
from tunesmith.textfile import lines
from tunesmith_plugins.sources.file_source import FileSource


class PlainText(FileSource):
    """Read documents from a text file (.txt, .gz)."""

    name = "plain_text"
    document: Literal["paragraph", "line", "file"] = "paragraph"
    """What one row is: a block of lines between blank ones, one line, or the whole file."""
    min_characters: int = 1
    """Join a shorter paragraph with the next ones, so that a row is worth learning from."""

    def records(self) -> Iterator[tuple[str, Any]]:
        """Yield every document with its file and first line."""
        if self.document == "line":
            for number, text in lines(self.path, self.max_line_bytes):
                if text.strip():
                    yield f"{self.path}:{number}", {"text": text}
            return
        for number, text in self._blocks():
            yield f"{self.path}:{number}", {"text": text}

    def _blocks(self) -> Iterator[tuple[int, str]]:
        held: list[str] = []
        begin, size = 1, 0
        for number, text in lines(self.path, self.max_line_bytes):
            blank = not text.strip()
            if blank and self.document == "paragraph" and size >= self.min_characters:
                yield begin, "\n".join(held).rstrip()
                held, size = [], 0
            elif held or not blank:
                begin = begin if held else number
                held.append(text)
                size += len(text) + 1
            self._check_size(size, begin)
        if size:
            yield begin, "\n".join(held).rstrip()

    def _check_size(self, size: int, begin: int) -> None:
        most = 64 * self.max_line_bytes
        if size > most:
            raise DataError(
                f"{self.path}:{begin}: a document is longer than {most} bytes. Choose document:"
                " paragraph or line, or set max_line_bytes."
            )


@hookimpl
def register_dataset_sources() -> list[type[DatasetSource]]:
    """Offer plain text files."""
    return [PlainText]
