"""What a database or a disk complains about, said so that people can act on it."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DatabaseError, StatementError

from tunesmith.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL_IN_WORDS = ("No space left on device", "os error 28", "Disk quota exceeded", "os error 122")

_SQLITE = {
    "SQLITE_BUSY": "is locked by another process for over {timeout:.0f} s."
    " Close programs that hold it open (a database browser, a copy), then try again.",
    "SQLITE_READONLY": "is read-only. Give yourself the right to write to it and its folder,"
    " or set TUNESMITH_HOME to a folder you may write to.",
    "SQLITE_FULL": "cannot grow: its disk is full. Free some space (`tunesmith gc` lists what is"
    " not needed), then try again; nothing already stored was lost.",
    "SQLITE_IOERR": "could not be read or written by the disk. Check that the disk is neither full"
    " nor failing, then try again.",
    "SQLITE_CANTOPEN": "cannot be opened. Check that its folder exists and is yours to write.",
    "SQLITE_CORRUPT": "is damaged. Put back a copy (upgrades leave one beside it), or move it away"
    " to start afresh; artifacts are kept in their own folder.",
    "SQLITE_NOTADB": "is not a SQLite database. Move that file away, or point"
    " TUNESMITH_DATABASE_URL elsewhere.",
}
_POSTGRESQL = {
    "22": "does not take this value ({detail}).",
    "08": "cannot be reached ({detail}). Start the server or correct TUNESMITH_DATABASE_URL.",
    "28": "refused the login ({detail}). Correct TUNESMITH_DATABASE_URL.",
    "3D": "does not exist ({detail}). Create it, or correct TUNESMITH_DATABASE_URL.",
    "42501": "does not let this user do that ({detail}). Grant the right, or use another user.",
    "25006": "is read-only. Point TUNESMITH_DATABASE_URL at the primary server.",
    "53100": "cannot grow: the server's disk is full. Free some space, then try again.",
    "53300": "has too many connections. Close some, or raise max_connections.",
    "55P03": "is locked by another process. Try again when it has finished.",
}


@contextmanager
def explained(place: str, timeout: float) -> Iterator[None]:
    """Turn the database's own errors into StoreErrors that name the database and the fix."""
    try:
        yield
    except (DatabaseError, sqlite3.Error) as error:
        fix = _fix(error, timeout)
        if fix is None:
            raise
        raise StoreError(f"The database {place} {fix}") from error
    except StatementError as error:
        # Raised while a value was made ready for the database: a wrong type, not a wrong statement.
        if isinstance(error.orig, StoreError):
            raise error.orig from error
        if not isinstance(error.orig, (ValueError, TypeError)):
            raise
        raise StoreError(f"This cannot be stored in the database: {error.orig}.") from error


def _fix(error: DatabaseError | sqlite3.Error, timeout: float) -> str | None:
    # While a connection is being made ready, SQLite's errors come as they are.
    raised = error.orig if isinstance(error, DatabaseError) else error
    if isinstance(raised, sqlite3.Error):
        name = str(getattr(raised, "sqlite_errorname", ""))
        found = (text for code, text in _SQLITE.items() if name.startswith(code))
        return next((text.format(timeout=timeout) for text in found), None)
    detail = next(iter(str(raised).strip().splitlines()), "no detail")
    lost = getattr(error, "connection_invalidated", False) or "connection" in detail
    state = getattr(raised, "sqlstate", None) or ("08" if lost else "none")
    found = (text for code, text in _POSTGRESQL.items() if state.startswith(code))
    return next((text.format(detail=detail) for text in found), None)


def disk_reason(error: BaseException, folder: Path) -> str | None:
    """Say what is wrong with the disk when that is why ``error`` happened, else None.

    Libraries in other languages raise their own types; their words and the free space tell.
    """
    number = error.errno if isinstance(error, OSError) else None
    named = getattr(error, "filename", None)
    place = Path(named) if isinstance(named, str) else folder
    if number in _FORBIDDEN and place.is_relative_to(folder):
        return (
            f"Cannot write to {place}: permission denied or read-only disk."
            " Set TUNESMITH_HOME to a folder you may write to."
        )
    if number in _FULL or any(words in str(error) for words in _FULL_IN_WORDS):
        return _full(place)
    broke_off = isinstance(error, (OSError, RuntimeError)) and _free(folder) < 1 << 20
    return _full(folder) if broke_off else None


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise StoreError with the fix where the disk is full or may not be written."""
    try:
        yield
    except OSError as error:
        reason = disk_reason(error, folder)
        if reason is None:
            raise
        raise StoreError(reason) from error


def _full(folder: Path) -> str:
    return (
        f"The disk that holds {folder} is full ({_free(folder) / 1e6:,.0f} MB free)."
        " Free some space (`tunesmith gc` lists what is not needed), then `tunesmith resume`;"
        " nothing already stored was lost."
    )


def _free(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
