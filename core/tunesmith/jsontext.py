"""Read JSON lines and JSON arrays record by record, refusing what JSON does not allow."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import DataError
from tunesmith.textfile import MAX_LINE_BYTES, chunks, lines

_SPACE = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_WIDEST = 2**63


class RefusedError(ValueError):
    """A value that parses but must not be accepted."""


def _constant(name: str) -> Any:
    raise RefusedError(f"{name} is not JSON; write null or leave the row out")


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -_WIDEST <= int(digits) < _WIDEST:
        raise RefusedError(f"the number {digits[:20]}... does not fit 64 bits; write it as text")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise RefusedError(f"the number {digits[:20]} is too large; write it as text")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RefusedError(f"the key {twice!r} stands there twice")
    return found


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_real
)


def parse(text: str, place: str) -> Any:
    """Return the value of a JSON text; raise DataError with the place and the reason."""
    start = _skip(text, 0)
    value, end = _decode(text, start, place)
    if _skip(text, end) != len(text):
        raise DataError(f"{place}: there is more after the JSON value (column {end + 1}).")
    return value


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _decode(text: str, start: int, place: str) -> tuple[Any, int]:
    """Return the value at ``start`` and where it ends."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        if _SURROGATE.search(text, start, end):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise DataError(f"{place}: the JSON is nested too deeply.") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON: {error.msg} (column {error.colno}).") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{place}: the text holds half of a surrogate pair.") from error
    except RefusedError as error:
        raise DataError(f"{place}: {error}.") from error
    return value, end


def records(path: Path, most: int = MAX_LINE_BYTES) -> Iterator[tuple[str, Any]]:
    """Yield ``(place, value)`` per line, or per element when the file is an array.

    A line that is no JSON is yielded as its DataError, for the reader to raise or to skip; an error
    in an array is raised, because nobody knows where the next element begins.
    """
    pieces = chunks(path)
    first = next(pieces, "")
    if first.lstrip().startswith("["):
        yield from _elements(_Buffer(path, first, pieces, most))
        return
    pieces.close()
    empty = True
    for number, text in lines(path, most):
        if text.strip():
            yield f"{path}:{number}", _line(text, f"{path}:{number}", empty)
            empty = False
    if empty:
        raise DataError(f"{path} holds nothing but blank lines.")


def _line(text: str, place: str, first: bool) -> Any:
    try:
        return parse(text, place)
    except DataError as error:
        if first and text.strip() == "{":
            return DataError(
                f"{place}: this looks like one JSON object over many lines. Tunesmith reads one"
                " object per line, or an array of objects."
            )
        return error


@dataclass(slots=True)
class _Buffer:
    """The part of a JSON array that has been read and not yet used: about one element."""

    path: Path
    text: str
    pieces: Generator[str, None, None]
    most: int
    at: int = 0
    line: int = 1
    counted: int = 0

    @property
    def place(self) -> str:
        """File and line of the position, counted since the last time."""
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return f"{self.path}:{self.line}"

    def peek(self) -> str:
        """Return the next character that is no space, or nothing at the end of the file."""
        self.at = _skip(self.text, self.at)
        while self.at == len(self.text):
            if not self.fill():
                return ""
            self.at = _skip(self.text, self.at)
        return self.text[self.at]

    def fill(self) -> bool:
        """Drop what was used and read at least as much as remains; False at the end of the file."""
        _ = self.place
        self.text, self.at, self.counted = self.text[self.at :], 0, 0
        parts, wanted = [self.text], max(len(self.text), 1)
        for piece in self.pieces:
            parts.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
        self.text = "".join(parts)
        return len(parts) > 1

    def value(self) -> Any:
        """Return the value at the position and step behind it."""
        while True:
            try:
                value, end = _decode(self.text, self.at, self.place)
            except DataError as error:
                if not _runs_out(error, self.text) or not self._grow():
                    raise
            else:
                if end < len(self.text) or not self._grow():
                    self.at = end
                    return value

    def _grow(self) -> bool:
        if len(self.text) - self.at > self.most:
            raise DataError(
                f"{self.place}: an element is longer than {self.most} bytes. If that is meant, set"
                " max_line_bytes."
            )
        return self.fill()


def _runs_out(error: DataError, text: str) -> bool:
    """Say whether reading may have failed because the text ended, not because it is wrong."""
    cause = error.__cause__
    if not isinstance(cause, json.JSONDecodeError):
        return False
    return cause.msg.startswith("Unterminated string") or cause.pos >= len(text) - 8


def _elements(buffer: _Buffer) -> Iterator[tuple[str, Any]]:
    buffer.peek()
    buffer.at += 1
    first = True
    while (mark := buffer.peek()) != "]":
        if not mark:
            raise DataError(f"{buffer.place}: the array has no end; is the file truncated?")
        if not first:
            if mark != ",":
                raise DataError(f"{buffer.place}: a comma is missing between two elements.")
            buffer.at += 1
            buffer.peek()
        first = False
        place = buffer.place
        yield place, buffer.value()
    buffer.at += 1
    if buffer.peek():
        raise DataError(f"{buffer.place}: there is more after the end of the array.")
    if first:
        raise DataError(f"{buffer.path}: the array is empty.")
