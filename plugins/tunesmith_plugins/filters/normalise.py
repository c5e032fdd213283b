"""Clean the characters of a text without changing what it says."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from tunesmith import DatasetFilter, Row, hookimpl

# Control characters but tab and line feed, and the byte order mark that files carry into texts.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_TRAILING = re.compile(r"[ \t\u00a0]+$", re.MULTILINE)
_ENDS = re.compile("\r\n?|\u2028|\u2029|\x85")
_COLUMNS = ("text", "prompt", "completion", "chosen", "rejected", "question")


class Normalise(DatasetFilter):
    """Compose characters (NFC), unify line ends, drop control characters and trailing space."""

    name = "normalise"
    lowercase: bool = False
    """Turn everything into lower case."""

    def apply(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows with clean texts; a row with a text that becomes empty is dropped."""
        for row in rows:
            clean = {c: self._cleaned(row[c]) for c in _COLUMNS if c in row}
            if all(_said(value) for value in clean.values()):
                yield {**row, **clean}

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        return [{**message, "content": self.text(message["content"])} for message in value]

    def text(self, text: str) -> str:
        """Return one text, cleaned; applying it twice changes nothing more."""
        text = _CONTROL.sub("", _ENDS.sub("\n", text))
        text = _TRAILING.sub("", unicodedata.normalize("NFC", text)).strip("\n")
        return unicodedata.normalize("NFC", text.lower()) if self.lowercase else text


def _said(value: Any) -> bool:
    said = [value] if isinstance(value, str) else [message["content"] for message in value]
    return bool(said) and all(text.strip() for text in said)


@hookimpl
def register_dataset_filters() -> list[type[DatasetFilter]]:
    """Offer normalisation."""
    return [Normalise]
