"""The manifest of an artifact: what its digest covers, and what may not be in its folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
import zipfile
from pathlib import Path
from typing import Any

from tunesmith.errors import ArtifactError

NAME = "manifest.json"
COVERED = ("kind", "files", "inputs", "config", "seed", "metrics")
"""What the digest is made of. Times and versions are in the manifest, but not here."""

ARTIFACT_ID = re.compile(r"[a-z][a-z0-9_]{0,31}-[0-9a-f]{16}")
KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill"}
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|\u202a-\u202e\u2066-\u2069\ud800-\udfff]')

_hashed: dict[tuple[int, int, int, int, int], str] = {}
"""sha256 of files that this process has read, until they change on disk."""


def digest_of(manifest: dict[str, Any]) -> str:
    """Return the sha256 of the canonical JSON of what the digest covers."""
    covered = {key: manifest[key] for key in COVERED}
    return hashlib.sha256(canonical(covered).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Return the one JSON text of a value; raise ArtifactError for NaN and what is not JSON."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"A manifest cannot hold this: {error}."
            " Use numbers that are finite, text, lists and dictionaries."
        ) from error


def list_files(folder: Path) -> dict[str, os.stat_result]:
    """Return every file below ``folder`` by its path with slashes, sorted.

    Raises ArtifactError for links, devices and names that would not survive on another system.
    """
    found: dict[str, os.stat_result] = {}
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            name = path.relative_to(folder).as_posix()
            _refuse_name(path.name, name)
            facts = path.lstat()
            if stat.S_ISDIR(facts.st_mode):
                waiting.append(path)
            else:
                _refuse_unless_plain(facts, name)
                found[name] = facts
    return dict(sorted(found.items()))


def _refuse_name(name: str, path: str) -> None:
    odd = _FORBIDDEN.search(name) or _DEVICES.fullmatch(name) or name.endswith((".", " "))
    if odd or len(name.encode("utf-8", "replace")) > 200:
        raise ArtifactError(
            f"{path!r} is not a name an artifact can hold; use letters, digits, '.', '-' and '_'."
        )


def _refuse_unless_plain(facts: os.stat_result, path: str) -> None:
    if stat.S_ISLNK(facts.st_mode):
        raise ArtifactError(f"{path} is a symbolic link; an artifact holds files. Copy its target.")
    if not stat.S_ISREG(facts.st_mode):
        raise ArtifactError(f"{path} is not a plain file; an artifact holds nothing else.")
    if facts.st_nlink > 1:
        raise ArtifactError(
            f"{path} is a hard link: it could be changed from outside. Copy the file instead."
        )


def refuse_pickle(path: Path, name: str) -> None:
    """Raise ArtifactError when a file is a pickle by its name or by its bytes."""
    if path.suffix.lower() in _PICKLE_SUFFIXES or _is_pickle(path):
        raise ArtifactError(
            f"{name} is a pickle checkpoint, which can run code when it is loaded."
            " Save the weights as safetensors."
        )


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix == ".safetensors":
        return head[8:9] not in (b"{", b"")
    if head[:4] == b"PK\x03\x04":
        return _zip_holds_pickle(path)
    # Opcode 0x80 names the protocol; after it comes an opcode, and none of them is NUL.
    return head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and head[2:3] > b"\x00"


def _zip_holds_pickle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith((".pkl", ".pickle")) for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def checked(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest after comparing every file with it.

    Raises ArtifactError that names the first file which is missing, altered or added.
    """
    manifest = read(folder)
    listed = list_files(folder)
    listed.pop(NAME, None)
    _refuse_difference(folder, manifest, {name: hash_file(folder / name) for name in listed})
    return manifest


def hash_file(path: Path) -> str:
    """Return a file's sha256; a file this process has read is read again only if it changed."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        facts, began = os.fstat(handle), time.time_ns()
        known = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        if known in _hashed:
            return _hashed[known]
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # Two changes within one tick of the disk's clock look the same: trust only settled files.
    if began - facts.st_ctime_ns > 100_000_000:
        _hashed[known] = digest
    return digest


def read(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest; raise ArtifactError when it is missing, altered or not ours."""
    path = folder / NAME
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        digest = digest_of(manifest)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing.{_remedy(folder)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is not a manifest ({error}).{_remedy(folder)}") from error
    if f"{manifest['kind']}-{digest[:16]}" != folder.name or digest != manifest.get("digest"):
        raise ArtifactError(f"{path} was altered: its digest does not match.{_remedy(folder)}")
    return dict(manifest)


def _refuse_difference(folder: Path, manifest: dict[str, Any], hashes: dict[str, str]) -> None:
    for name, wanted in manifest["files"].items():
        if name not in hashes:
            raise ArtifactError(f"{folder / name} is missing.{_remedy(folder)}")
        if hashes[name] != wanted:
            size = (folder / name).stat().st_size
            said = manifest.get("sizes", {}).get(name, size)
            how = "was altered" if size == said else f"has {size} bytes instead of {said}"
            raise ArtifactError(f"{folder / name} {how}.{_remedy(folder)}")
    extra = sorted(set(hashes) - set(manifest["files"]))
    if extra:
        raise ArtifactError(
            f"{folder / extra[0]} was added after the artifact was made.{_remedy(folder)}"
        )


def _remedy(folder: Path) -> str:
    return f" Delete the folder {folder} (or put a copy back); the next run makes it again."
