"""Read text files that strangers wrote: gzip or not, line by line, with every trap named.

Memory stays at one line, however large the file is or unpacks to.
"""

from __future__ import annotations

import gzip
import hashlib
import stat
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tunesmith.errors import DataError, did_you_mean

MAX_LINE_BYTES = 4 * 2**20
MAX_RATIO = 100
"""How many times its size a gzip file may unpack to, beyond the first 16 MiB."""
_FREE = 16 * 2**20
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_ODD = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    _GZIP: "gzip inside gzip",
    b"PK": "a zip file",
}


def problems(path: Path) -> list[str]:
    """Return what can be said against a file without reading it, one sentence each."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return [_unreachable(path, error)]
    if stat.S_ISDIR(mode):
        inside = sorted(child.name for child in path.iterdir() if child.is_file())[:5]
        return [f"{path} is a folder, not a file. It holds {', '.join(inside) or 'no files'}."]
    if not stat.S_ISREG(mode):
        return [
            f"{path} is not a regular file (a pipe, socket or device); copy its content to one."
        ]
    return [f"{path} is empty."] if path.stat().st_size == 0 else []


def _unreachable(path: Path, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"{path} cannot be read: {error.strerror or error}."
    folder = path.parent
    if not folder.is_dir():
        return f"{path} does not exist, nor does the folder {folder}."
    names = sorted(child.name for child in folder.iterdir())
    hint = did_you_mean(path.name, names)
    return f"{path} does not exist.{hint}" + (
        "" if hint else f" In {folder} there are: {_few(names)}."
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "no files"


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacking what is gzip whatever its name; raise DataError when that fails."""
    found = problems(path)
    if found:
        raise DataError(" ".join(found))
    try:
        raw = path.open("rb")
    except OSError as error:
        raise DataError(_unreachable(path, error)) from error
    with raw:
        packed = raw.peek(2)[:2] == _GZIP
        yield gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[misc]


def sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes as they lie on disk."""
    found = problems(path)
    if found:
        raise DataError(" ".join(found))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _guarded(place: str, read: Callable[[int], bytes], size: int) -> bytes:
    """Read, and say what is wrong with a gzip file that cannot be unpacked."""
    try:
        return read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{place}: the gzip file is truncated or damaged ({error}). Fetch it again."
        ) from error
    except OSError as error:
        raise DataError(f"{place}: {error.strerror or error}.") from error


def _check_ratio(path: Path, place: str, unpacked: int) -> None:
    if unpacked > _FREE and unpacked > MAX_RATIO * path.stat().st_size:
        raise DataError(
            f"{place}: the file unpacks to more than {MAX_RATIO} times its size."
            " Unpack it yourself if you trust it."
        )


def lines(path: Path, most: int = MAX_LINE_BYTES) -> Iterator[tuple[int, str]]:
    """Yield ``(line number, text without line end)``.

    Raise DataError for a line above ``most`` bytes, NUL bytes, what is not UTF-8, and a gzip file
    that is broken or unpacks to far more than its size.
    """
    with open_bytes(path) as file:
        number, offset = 0, 0
        while raw := _guarded(f"{path}:{number + 1}", file.readline, most + 2):
            number += 1
            place = f"{path}:{number}"
            if len(raw.rstrip(b"\r\n")) > most:
                raise DataError(
                    f"{place}: the line is longer than {most} bytes. If that is meant, set"
                    " max_line_bytes."
                )
            yield number, _decoded(raw, place, offset).rstrip("\n").removesuffix("\r")
            offset += len(raw)
            _check_ratio(path, place, offset)


def chunks(path: Path, size: int = 1 << 16) -> Generator[str, None, None]:
    """Yield the text piece by piece, whatever its lines; raise DataError like ``lines``."""
    with open_bytes(path) as file:
        offset, rest = 0, b""
        while raw := _guarded(str(path), file.read, size):
            raw = rest + raw
            cut = _whole(raw)
            yield _decoded(raw[:cut], str(path), offset)
            rest = raw[cut:]
            offset += cut
            _check_ratio(path, str(path), offset)
        if rest:
            yield _decoded(rest, str(path), offset)


def _whole(raw: bytes) -> int:
    """Return where the last character of the bytes ends, so that none is cut in two."""
    for back in range(1, min(4, len(raw)) + 1):
        lead = raw[-back]
        if lead >= 0xC0:
            width = 2 + (lead >= 0xE0) + (lead >= 0xF0)
            return len(raw) if width <= back else len(raw) - back
        if lead < 0x80:
            break
    return len(raw)


def _decoded(raw: bytes, place: str, offset: int) -> str:
    if offset == 0:
        if raw[:2] in _ODD:
            raise DataError(
                f"{place}: this looks like {_ODD[raw[:2]]}; Tunesmith reads UTF-8 text."
            )
        raw, offset = (raw[3:], 3) if raw.startswith(_BOM) else (raw, 0)
    if b"\0" in raw:
        at = offset + raw.index(b"\0")
        raise DataError(f"{place}: there is a NUL byte at offset {at}; is this a text file?")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        byte, at = raw[error.start], offset + error.start
        raise DataError(
            f"{place}: byte {byte:#04x} at offset {at} is not valid UTF-8. Convert"
            " the file, for example: iconv -f latin1 -t utf-8."
        ) from error
