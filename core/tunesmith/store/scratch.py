"""Temporary folders beside the artifacts, each with an owner, so that no kill leaves any behind."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from tunesmith.store.process import ProcessIdentity, current


def create(drafts: Path, label: str) -> Path:
    """Return a new empty folder that ``sweep`` removes once this process is dead."""
    drafts.mkdir(parents=True, exist_ok=True)
    path = drafts / f"{label}-{secrets.token_hex(8)}"
    # The owner comes first: a folder that nobody owns can then never be left behind. A link comes
    # into being with its text, where a file killed between the two would be an owner without name.
    _owner(path).symlink_to(json.dumps(asdict(current())))
    path.mkdir()
    return path


def drop(path: Path) -> None:
    """Remove a folder made by ``create``, whatever is left of it; two may try at once."""
    for folder in (path, aside(path)):
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
    _owner(path).unlink(missing_ok=True)


def sweep(drafts: Path) -> list[Path]:
    """Remove the folders of dead processes; return their paths."""
    abandoned = [owner.with_suffix("") for owner in drafts.glob("*.owner") if _abandoned(owner)]
    for path in abandoned:
        drop(path)
    return sorted(abandoned)


def aside(path: Path) -> Path:
    """Return where something damaged is moved to while ``path`` takes its place."""
    return path.with_name(f"{path.name}.damaged")


def flush(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _owner(path: Path) -> Path:
    return path.with_name(f"{path.name}.owner")


def _abandoned(owner: Path) -> bool:
    try:
        told = os.readlink(owner)  # noqa: PTH115  (a Path would change slashes in the text)
    except FileNotFoundError:
        return False
    except OSError:  # a file, as owners once were; whoever wrote it is long gone
        return True
    return ProcessIdentity(**json.loads(told)).is_dead()
